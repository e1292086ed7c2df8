"""The image that a Dockerfile's FROM names, brought to the engine before it builds.

A builder without a session cannot log in to a registry; a pull has the person's login.
"""

from __future__ import annotations

import time

import docker
import docker.errors

from comfy_errors import OperationFailedError, UnavailableError
from runpod_comfy.images.docker.build_progress import BuildShow, BuildStep
from runpod_comfy.images.docker.layer_transfer import Transfers
from runpod_comfy.images.docker.stream import engine_errors, read_messages

_BETWEEN_S = 1.0
_NO_REGISTRY = "Where no registry can be reached: `make base`, then BASE=… with the name it prints."
_REMEDY = (
    "Check its name, or build a base that needs no registry: `make base`, then BASE=… with "
    "the name that it prints."
)


def ensure_image(
    client: docker.DockerClient, reference: str, *, platform: str, show: BuildShow
) -> None:
    """Pulls `reference` for `platform` (`linux/amd64`) unless the engine has it.

    Raises UnavailableError if it is neither here nor to be had.
    """
    here = _platform_here(client, reference)
    if here == platform:
        return
    step, began = f"base {reference}", time.monotonic()
    show.started(step)
    try:
        _pull(client, reference, platform, step, show)
    except OperationFailedError as error:
        found = f"is here only for {here}" if here else "is not on this engine"
        raise UnavailableError(
            f"the base image {reference} {found}, and {error.message}",
            remedy=f"{error.remedy} {_NO_REGISTRY}" if error.remedy else _REMEDY,
        ) from error
    seconds = round(time.monotonic() - began, 3)
    show.finished(BuildStep(name=step, cached=False, seconds=seconds))


def _platform_here(client: docker.DockerClient, reference: str) -> str | None:
    with engine_errors(f"looking for the image {reference}"):
        try:
            found = client.images.get(reference).attrs
        except docker.errors.ImageNotFound:
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
        transfers.hear(message)
        if transfers.layers and time.monotonic() - told_at > _BETWEEN_S:
            told_at = time.monotonic()
            show.output(step, transfers.in_words())
    here = _platform_here(client, reference)
    if here != platform:
        raise OperationFailedError(
            f"{doing} brought an image for {here}, not {platform}" if here else f"{doing} broke off"
        )
