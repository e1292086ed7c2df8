"""Connects to the Docker engine that the docker command would use, and checks its features."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import ClassVar

import docker
import docker.errors
import requests
from docker.context import ContextAPI
from docker.context.config import get_current_context_name

from comfy_errors import ComfyError, InvalidInputError

# Engine 20.10: the first whose built-in Dockerfile syntax has `RUN --mount`.
OLDEST_API = (1, 41)
_OLDEST_NAME = "20.10"
# https://github.com/moby/moby/issues/47717: before it, a build in containerd's store does not find
# a context sent without a session.
_OLDEST_WITH_CONTAINERD = (27, 5)
_DRIVER_TYPE, _CONTAINERD_STORE = "driver-type", "io.containerd.snapshotter.v1"
_ANSWERS_WITHIN_S = 20
# A push or a load can be silent for a long time while a registry or a disk works.
_SILENT_AT_MOST_S = 900


class NoEngineError(ComfyError):
    """No Docker engine that can build an image with BuildKit."""

    exit_code: ClassVar[int] = 5


class UnusableEngineError(NoEngineError):
    """An engine answers, and cannot build an image with BuildKit."""


def connect(address: str | None = None, *, wait_s: int | None = None) -> docker.DockerClient:
    """A client of the engine at `address`, else of DOCKER_HOST's or the active Docker context's.

    `wait_s` limits each wait for an answer, for a caller that can do without an engine. Raises
    NoEngineError if none answers, or if it is too old or lacks BuildKit, and InvalidInputError if
    Docker's settings cannot be read.
    """
    try:
        client = _client(address, wait_s or _ANSWERS_WITHIN_S)
        ping = client.api.get(f"{client.api.base_url}/_ping", timeout=client.api.timeout)
        ping.raise_for_status()
        _refuse_unusable(client, ping.headers)
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        raise _not_reached(address, error) from error
    except ValueError as error:
        raise InvalidInputError(
            f"Docker's settings (config.json and contexts) are not valid: {error}",
            remedy="Log in again with `docker login`, or fix the file by hand.",
        ) from error
    client.api.timeout = wait_s or _SILENT_AT_MOST_S
    return client


def _client(address: str | None, timeout_s: int) -> docker.DockerClient:
    if address:
        return docker.DockerClient(base_url=address, timeout=timeout_s)
    if not os.environ.get("DOCKER_HOST"):
        name = os.environ.get("DOCKER_CONTEXT") or get_current_context_name()
        if ContextAPI.get_context(name) is None:
            # The SDK would use the default socket instead, which may be another engine.
            raise NoEngineError(
                f"there is no Docker context named '{name}'",
                remedy="`docker context ls` lists the contexts; DOCKER_CONTEXT and `docker "
                "context use` select one.",
            )
    return docker.from_env(timeout=timeout_s)


def _refuse_unusable(client: docker.DockerClient, headers: Mapping[str, str]) -> None:
    remedy = f"Use Docker Engine {_OLDEST_NAME} or newer; set DOCKER_HOST to use another engine."
    if "libpod-api-version" in headers:
        raise UnusableEngineError("this engine is Podman, which has no BuildKit", remedy=remedy)
    if headers.get("ostype") == "windows":
        raise UnusableEngineError(
            "this Docker engine runs Windows containers, for which it has no BuildKit",
            remedy="Switch Docker Desktop to Linux containers, or name another engine in "
            "DOCKER_HOST.",
        )
    api = client.api.api_version
    if tuple(int(part) for part in api.split(".")) < OLDEST_API:
        version = client.version().get("Version", "?")
        raise UnusableEngineError(
            f"this Docker engine is too old: {version} (API {api})", remedy=remedy
        )
    # 20.10 reports nothing if the client may choose; "1" means only the old builder.
    if headers.get("builder-version") == "1":
        raise UnusableEngineError(
            "this Docker engine has BuildKit switched off",
            remedy='Set `"features": {"buildkit": true}` in its daemon.json and restart it.',
        )
    about = client.info()
    version = re.match(r"(\d+)\.(\d+)", str(about.get("ServerVersion")))
    if (
        version
        and (int(version[1]), int(version[2])) < _OLDEST_WITH_CONTAINERD
        and [_DRIVER_TYPE, _CONTAINERD_STORE] in (about.get("DriverStatus") or [])
    ):
        raise UnusableEngineError(
            f"this Docker engine, {about['ServerVersion']}, cannot build from here while it keeps "
            "its images in containerd's store",
            remedy='Use 27.5 or newer, or set `"features": {"containerd-snapshotter": false}` in '
            "its daemon.json and restart it.",
        )


def _not_reached(address: str | None, error: BaseException) -> NoEngineError:
    named = address or os.environ.get("DOCKER_HOST")
    where = f"at {named}" if named else "here"
    for cause in _causes(error):
        if isinstance(cause, PermissionError):
            return NoEngineError(
                f"permission denied by the Docker engine {where}",
                remedy="Add yourself to the group `docker` and log in again, or set DOCKER_HOST "
                "to your own engine.",
            )
    reason = list(_causes(error))[-1]
    return NoEngineError(
        f"no Docker engine answers {where} ({reason})",
        remedy="Start Docker Desktop, or install an engine (Debian and Ubuntu: "
        "`apt-get install docker.io`), or set DOCKER_HOST to a running one. Only images need an "
        "engine.",
    )


def _causes(error: BaseException) -> list[BaseException]:
    """The error and its causes, the innermost last."""
    found: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in found:
        found.append(at)
        inner = next((arg for arg in at.args if isinstance(arg, BaseException)), None)
        at = at.__cause__ or at.__context__ or inner
    return found
