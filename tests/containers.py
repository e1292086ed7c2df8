"""Containers of tests, through testcontainers: a base image, a registry, runs of an image.

What is started in a `with` block is removed at its end. Ryuk, which would remove it even after a
kill, is used where its image can be had.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import docker.errors
import pytest
from filelock import FileLock
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import HttpWaitStrategy

from runpod_comfy.images.base.debian import (
    DEFAULT_TAG,
    find_mirrors,
    make_base,
    trusted_certificates,
)
from runpod_comfy.images.docker.connection import connect

BASE_VARIABLE = "TEST_BASE_IMAGE"
"""Names the image that tests build upon, where none can be made: it needs Python and apt."""
USER, PASSWORD = "tester", "secret"
# bcrypt of the password above, the one kind that the registry knows.
_HTPASSWD = f"{USER}:$2b$05$PnCf1lsRQaj/CD1jV91Q2OSh9mkShQeWxMBq3nIBkBqi1mE9ItRRC\n"
_REGISTRY_IMAGE = "runpod-comfy-test-registry:local"
_REGISTRY_PORT = 5000
_REGISTRY_RECIPE = """\
FROM {base}
RUN apt-get update && apt-get install --yes --no-install-recommends docker-registry \
 && rm -rf /var/lib/apt/lists/*
"""
_REGISTRY_CONFIGURATION = """\
version: 0.1
storage:
  filesystem:
    rootdirectory: /var/lib/docker-registry
http:
  addr: :5000
"""
_REGISTRY_LOGIN = """\
auth:
  htpasswd:
    realm: tests
    path: /etc/docker/registry/htpasswd
"""


@dataclass(frozen=True, kw_only=True)
class Registry:
    """A registry that runs. `address` is `host:port`, as the engine reaches it."""

    address: str
    container: DockerContainer

    def kill(self) -> None:
        """Ends it as a machine that goes down would: connections break, with no more answers."""
        self.container.get_wrapped_container().kill()


def write_login(folder: Path, registry: Registry, *, password: str = PASSWORD) -> None:
    """What `docker login` writes, into the folder that DOCKER_CONFIG names."""
    secret = b64encode(f"{USER}:{password}".encode()).decode()
    folder.mkdir(parents=True, exist_ok=True)
    logins = {"auths": {registry.address: {"auth": secret}}}
    (folder / "config.json").write_text(json.dumps(logins))


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What a container left: its exit code and what it wrote."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def engine() -> Iterator[docker.DockerClient]:
    """The engine of this machine. Without one its tests fail: they are there to be run."""
    client = connect()
    if not testcontainers_config.ryuk_disabled:
        testcontainers_config.ryuk_disabled = not _can_be_had(
            client, testcontainers_config.ryuk_image
        )
    yield client
    client.close()


def base_image(client: docker.DockerClient) -> str:
    """An image with Python and this machine's certificates.

    The one that TEST_BASE_IMAGE names, else that of `make base`, which is made if it is missing.
    """
    if named := os.environ.get(BASE_VARIABLE):
        return named
    # Two processes of tests may need it at once.
    with FileLock(Path(tempfile.gettempdir(), "runpod-comfy-test-base.lock")):
        if not _has(client, DEFAULT_TAG):
            make_base(
                client,
                tag=DEFAULT_TAG,
                suite="bookworm",
                mirrors=find_mirrors("bookworm"),
                ca_bundle=trusted_certificates(),
                on_output=print,
            )
    return DEFAULT_TAG


@contextmanager
def running(
    image: str,
    command: Sequence[str] = (),
    *,
    environment: Mapping[str, str] | None = None,
    volumes: Mapping[Path, str] | None = None,
    volume_mode: str = "ro",
    tmpfs: Sequence[str] = (),
    **options: Any,
) -> Iterator[DockerContainer]:
    """A container of `image` that runs in the background.

    `volumes` maps folders of this machine to places in it, to be read there, or with `volume_mode`
    `rw` written; `tmpfs` are places of empty memory. `options` are those of docker-py, such as
    `read_only=True` or `entrypoint=[…]`.
    """
    container = DockerContainer(image, env=dict(environment or {}), **options)
    if command:
        container.with_command(list(command))
    for folder, place in (volumes or {}).items():
        container.with_volume_mapping(folder, place, volume_mode)
    for place in tmpfs:
        container.with_tmpfs_mount(place)
    with container:
        yield container


def run_to_end(
    image: str, command: Sequence[str] = (), *, timeout_s: float = 120, **options: Any
) -> Finished:
    """Runs `command` in a container of `image`, with the options of `running`, and waits for it."""
    with running(image, command, **options) as container:
        code = container.get_wrapped_container().wait(timeout=timeout_s)["StatusCode"]
        out, err = container.get_logs()
        return Finished(code=code, out=out.decode(), err=err.decode())


@contextmanager
def registry(client: docker.DockerClient, base: str, *, login: bool = False) -> Iterator[Registry]:
    """An empty registry, Debian's, in a container; with `login` it wants USER and PASSWORD."""
    image = _registry_image(client, base)
    configuration = _REGISTRY_CONFIGURATION + (_REGISTRY_LOGIN if login else "")
    ready = HttpWaitStrategy(_REGISTRY_PORT, "/v2/").for_status_code(401 if login else 200)
    container = (
        DockerContainer(image)
        .with_command(["docker-registry", "serve", "/etc/docker/registry/test.yml"])
        .with_exposed_ports(_REGISTRY_PORT)
        .with_copy_into_container(configuration.encode(), "/etc/docker/registry/test.yml")
        .with_copy_into_container(_HTPASSWD.encode(), "/etc/docker/registry/htpasswd")
        .waiting_for(ready)
    )
    with container:
        # Engines take plain HTTP from a registry on their own loopback.
        yield Registry(
            address=f"127.0.0.1:{container.get_exposed_port(_REGISTRY_PORT)}", container=container
        )


def _registry_image(client: docker.DockerClient, base: str) -> str:
    recipe = _REGISTRY_RECIPE.format(base=base).encode()
    # The engine's cache answers when it is there already.
    client.images.build(fileobj=io.BytesIO(recipe), tag=_REGISTRY_IMAGE, rm=True)
    return _REGISTRY_IMAGE


def _has(client: docker.DockerClient, image: str) -> bool:
    try:
        client.images.get(image)
    except docker.errors.ImageNotFound:
        return False
    return True


def _can_be_had(client: docker.DockerClient, image: str) -> bool:
    if _has(client, image):
        return True
    try:
        client.images.pull(image)
    except docker.errors.APIError:
        return False
    return True
