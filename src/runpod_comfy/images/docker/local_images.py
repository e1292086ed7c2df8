"""Images on an engine: inspecting, saving and pulling them, and reading one file of them.

The image in a Dockerfile's FROM is pulled before the build: a builder without a session cannot log
in to a registry, but a pull uses the user's login.
"""

from __future__ import annotations

import contextlib
import io
import tarfile
import time
from collections.abc import Iterator
from typing import Any

import docker
import docker.errors
import docker.types
from docker.errors import ImageNotFound

from comfy_errors import OperationFailedError, UnavailableError
from runpod_comfy.images.docker.build_progress import BuildShow, BuildStep
from runpod_comfy.images.docker.stream import Transfers, engine_errors, read_messages

_BETWEEN_S = 1.0
_NOT_HERE = "Build or pull it first; `docker image ls` lists the images."
_NO_REGISTRY = (
    "Without access to a registry: run `runpod-comfy image base`, then pass --base with the name "
    "it prints."
)
_NO_BASE = (
    "Check its name, or build a base that needs no registry: run `runpod-comfy image base`, then "
    "pass --base with the name it prints."
)


def inspect_image(
    client: docker.DockerClient, reference: str, *, remedy: str = _NOT_HERE
) -> dict[str, Any]:
    """The output of `docker image inspect`.

    Raises UnavailableError with `remedy` if the engine does not have the image.
    """
    with engine_errors(f"looking at the image {reference}"):
        try:
            found: dict[str, Any] = client.images.get(reference).attrs
        except ImageNotFound as error:
            raise UnavailableError(f"the engine has no image {reference}", remedy=remedy) from error
    return found


def saved_chunks(client: docker.DockerClient, reference: str) -> Iterator[bytes]:
    """The archive of an image, as `docker save` writes it, in chunks."""
    with engine_errors(f"saving the image {reference}"):
        yield from client.api.get_image(reference)


def ensure_image(
    client: docker.DockerClient, reference: str, *, platform: str, show: BuildShow
) -> None:
    """Pulls `reference` for `platform` (`linux/amd64`) unless the engine has it.

    Raises UnavailableError if it is neither here nor can be pulled.
    """
    here = _platform_here(client, reference)
    if here == platform:
        return
    step, began = f"base {reference}", time.monotonic()
    show.started(step)
    try:
        _pull(client, reference, platform, step, show)
    except OperationFailedError as error:
        found = f"is only here for {here}" if here else "is not on this engine"
        raise UnavailableError(
            f"the base image {reference} {found}, and {error.message}",
            remedy=f"{error.remedy} {_NO_REGISTRY}" if error.remedy else _NO_BASE,
        ) from error
    seconds = round(time.monotonic() - began, 3)
    show.finished(BuildStep(name=step, cached=False, seconds=seconds))


def _platform_here(client: docker.DockerClient, reference: str) -> str | None:
    try:
        found = inspect_image(client, reference)
    except UnavailableError:
        return None
    return f"{found['Os']}/{found['Architecture']}"


def _pull(
    client: docker.DockerClient, reference: str, platform: str, step: str, show: BuildShow
) -> None:
    doing = f"pulling {reference}"
    transfers, told_at = Transfers(), time.monotonic()
    with engine_errors(doing):
        stream = client.api.pull(reference, platform=platform, stream=True, decode=True)
    for message in read_messages(stream, doing=doing):
        transfers.handle(message)
        if transfers.layers and time.monotonic() - told_at > _BETWEEN_S:
            told_at = time.monotonic()
            show.output(step, transfers.in_words())
    here = _platform_here(client, reference)
    if here != platform:
        raise OperationFailedError(
            f"{doing} brought an image for {here}, not {platform}"
            if here
            else f"{doing} was interrupted"
        )


def read_image_file(client: docker.DockerClient, reference: str, path: str) -> bytes | None:
    """The content of the file at `path` in an image, None if there is no such file.

    Raises OperationFailedError if the engine cannot do it.
    """
    with engine_errors(f"reading {path} in the image {reference}"):
        container = client.containers.create(reference, command=["none"])
        try:
            chunks, _ = container.get_archive(path)
            archive = b"".join(chunks)
        except docker.errors.NotFound:
            return None
        finally:
            with contextlib.suppress(docker.errors.APIError):
                container.remove(force=True)
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        member = files.next()
        stream = files.extractfile(member) if member is not None else None
        return stream.read() if stream is not None else None
