"""A real registry on this machine: Debian's docker-registry, open or behind a login."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

USER, PASSWORD = "person", "a test's password"
# By `htpasswd -Bbn`.
_HTPASSWD = "person:$2y$05$CLPV6d2M/q3ed24B.xAFOOqb5VRfPZBmo.lMuHCMBkk/zEw6rSkTW\n"
_WITHIN_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Registry:
    """`host` is what a reference begins with."""

    host: str
    process: subprocess.Popen[bytes]

    def die(self) -> None:
        """As by the power switch."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def running(folder: Path, *, login: bool = False) -> Iterator[Registry]:
    """A registry that keeps its images in `folder`, for as long as this lasts."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.fail("no docker-registry on the PATH (Debian: apt-get install docker-registry)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(folder / "images")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    if login:
        (folder / "htpasswd").write_text(_HTPASSWD)
        settings["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    # JSON is YAML.
    (folder / "config.yml").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", str(folder / "config.yml")], stdout=log, stderr=log
        )
    registry = Registry(host=f"127.0.0.1:{port}", process=process)
    try:
        _wait_for(registry, folder / "log")
        yield registry
    finally:
        registry.die()


def write_login(folder: Path, registry: Registry, *, password: str = PASSWORD) -> None:
    """What `docker login` writes, into the folder that DOCKER_CONFIG names."""
    secret = b64encode(f"{USER}:{password}".encode()).decode()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": secret}}}))


def _wait_for(registry: Registry, log: Path) -> None:
    until = time.monotonic() + _WITHIN_S
    while time.monotonic() < until and registry.process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{registry.host}/v2/"):
                return
        except urllib.error.HTTPError:
            # It asks for a login, so it is there.
            return
        except OSError:
            time.sleep(0.05)
    pytest.fail(f"the registry did not start:\n{log.read_text()}")
