"""Runs one workflow in a container of an image, which only sees the files it needs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import docker
import docker.types
from docker.models.containers import Container

from runpod_comfy.images.docker.stream import engine_errors

_STOP_WITHIN_S = 10
_NVIDIA = "nvidia"
# Docker's own runtimes, which give a container only the devices that are asked for.
_WITHOUT_GPUS = frozenset({"runc", "io.containerd.runc.v2", "io.containerd.runtime.v1.linux"})


@dataclass(frozen=True, kw_only=True)
class ContainerRun:
    """The arguments for the handler of `image`, and the paths of this machine that it sees.

    A path is mounted at the same place in the container, so that paths in the handler's messages
    are valid outside; `readable` and `writable` paths exist. `variables` are set in the container.
    """

    image: str
    arguments: Sequence[str]
    readable: Sequence[Path] = ()
    writable: Sequence[Path] = ()
    variables: Mapping[str, str] = field(default_factory=dict)


def run_container(
    client: docker.DockerClient, run: ContainerRun, *, out: BinaryIO, err: BinaryIO
) -> int:
    """Runs the container to its end, passing on the handler's output as it arrives; returns its
    exit code.

    The container has a read-only root and no privileges, and is removed afterwards, even after an
    interruption. Raises OperationFailedError if the engine refuses.
    """
    doing = f"running {run.image}"
    with engine_errors(doing), _container(client, run) as container:
        output = container.attach(stdout=True, stderr=True, stream=True, demux=True)
        container.start()
        for said, told in output:
            for stream, chunk in ((out, said), (err, told)):
                if chunk:
                    stream.write(chunk)
                    stream.flush()
        return int(container.wait()["StatusCode"])


def may_have_gpus(client: docker.DockerClient) -> bool:
    """False if no container of `run_container` gets a GPU. Raises OperationFailedError."""
    with engine_errors("asking the engine for its runtimes"):
        return not _WITHOUT_GPUS.issuperset(client.info().get("Runtimes") or {_NVIDIA})


@contextlib.contextmanager
def _container(client: docker.DockerClient, run: ContainerRun) -> Iterator[Container]:
    modes = {**dict.fromkeys(run.readable, "ro"), **dict.fromkeys(run.writable, "rw")}
    container = client.containers.create(
        run.image,
        list(run.arguments),
        environment=dict(run.variables),
        volumes={str(path): {"bind": str(path), "mode": modes[path]} for path in modes},
        # Files that it writes belong to the caller.
        user=f"{os.getuid()}:{os.getgid()}",
        read_only=True,
        tmpfs={"/tmp": "exec"},
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        device_requests=_gpus(client),
    )
    try:
        yield container
    except BaseException:
        with contextlib.suppress(docker.errors.DockerException):
            container.stop(timeout=_STOP_WITHIN_S)
        raise
    finally:
        container.remove(force=True)


def _gpus(client: docker.DockerClient) -> list[docker.types.DeviceRequest]:
    """A request for all GPUs, if the engine has NVIDIA's runtime."""
    if _NVIDIA not in client.info().get("Runtimes", {}):
        return []
    return [docker.types.DeviceRequest(count=-1, capabilities=[["gpu"]])]
