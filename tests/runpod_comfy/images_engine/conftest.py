from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests import containers
from tests.containers import Registry, engine
from tests.runpod_comfy.images_engine.small_image import base_tar

__all__ = ["engine"]


@pytest.fixture(scope="session")
def base(engine: docker.DockerClient) -> Iterator[str]:
    """An image with a shell."""
    name = f"runpod-comfy-test-base:{uuid.uuid4().hex[:12]}"
    repository, tag = name.split(":")
    engine.api.import_image_from_data(base_tar(), repository=repository, tag=tag)
    yield name
    engine.images.remove(name, force=True)


@pytest.fixture
def name(engine: docker.DockerClient) -> Iterator[str]:
    """A repository of its own; what the test tagged in it is removed."""
    repository = f"runpod-comfy-test-{uuid.uuid4().hex[:12]}"
    yield repository
    # Names alone: other tests may remove an image while it is looked at.
    for image in engine.api.images():
        for tag in image["RepoTags"] or ():
            if repository in tag:
                engine.images.remove(tag, force=True)


@pytest.fixture
def registry(engine: docker.DockerClient) -> Iterator[Registry]:
    """An open registry."""
    with containers.registry(engine, containers.base_image(engine)) as registry:
        yield registry


@pytest.fixture
def private_registry(engine: docker.DockerClient) -> Iterator[Registry]:
    """A registry that wants a login."""
    with containers.registry(engine, containers.base_image(engine), login=True) as registry:
        yield registry


@pytest.fixture
def docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a user's own settings, empty: no login."""
    # The engine that is meant may be named by the settings which this hides.
    monkeypatch.setenv("DOCKER_HOST", os.environ.get("DOCKER_HOST") or _engine_address())
    folder = tmp_path / "docker-config"
    folder.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    return folder


def _engine_address() -> str:
    return str(docker.ContextAPI.get_current_context().Host)
