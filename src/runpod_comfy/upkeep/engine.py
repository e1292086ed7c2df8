"""Whether a Docker engine answers: asked over its socket, since nothing else is needed for that."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from runpod_comfy.upkeep.answer import Answer

_TIMEOUT_S = 3.0
_REMEDY = "Only images need one. Install Docker, or name a running engine in DOCKER_HOST."


class _SocketConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_TIMEOUT_S)
        self.sock.connect(self._path)


def look_for_engine(environment: Mapping[str, str]) -> list[Answer]:
    """The engine that DOCKER_HOST names, else the usual sockets'; never needed."""
    named = environment.get("DOCKER_HOST")
    if named and urlsplit(named).scheme not in ("unix", "tcp"):
        return [
            Answer(
                name="docker", state="optional", found=f"{named} is not looked at", remedy=_REMEDY
            )
        ]
    for address in [named] if named else _usual_sockets(environment):
        try:
            return [_ask(address)]
        except (OSError, ValueError, http.client.HTTPException) as error:
            if named or isinstance(error, PermissionError):
                found = f"no engine answers at {address} ({type(error).__name__})"
                return [Answer(name="docker", state="optional", found=found, remedy=_REMEDY)]
    return [Answer(name="docker", state="optional", found="no engine", remedy=_REMEDY)]


def _usual_sockets(environment: Mapping[str, str]) -> list[str]:
    places = ["/var/run/docker.sock", str(Path.home() / ".docker/run/docker.sock")]
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        places.append(f"{runtime}/docker.sock")
    return [f"unix://{place}" for place in places if Path(place).exists()]


def _ask(address: str) -> Answer:
    parts = urlsplit(address)
    connection = (
        _SocketConnection(parts.path)
        if parts.scheme == "unix"
        else http.client.HTTPConnection(
            parts.hostname or "", parts.port or 2375, timeout=_TIMEOUT_S
        )
    )
    try:
        connection.request("GET", "/version")
        answer = connection.getresponse()
        if answer.status != 200:
            raise ValueError(f"HTTP {answer.status}")
        document = json.loads(answer.read(1 << 20))
        connection.request("GET", "/_ping")
        builder = connection.getresponse().getheader("Builder-Version")
    finally:
        connection.close()
    builds = "with BuildKit" if builder == "2" else "without BuildKit"
    return Answer(
        name="docker",
        state="ok",
        found=f"{document.get('Version')} (API {document.get('ApiVersion')}), {builds}",
    )
