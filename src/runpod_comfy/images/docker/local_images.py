"""Images as an engine has them: what it says of one, and its archive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import docker
from docker.errors import ImageNotFound

from comfy_errors import UnavailableError
from runpod_comfy.images.docker.stream import engine_errors


def inspect_image(client: docker.DockerClient, reference: str) -> dict[str, Any]:
    """What `docker image inspect` shows. Raises UnavailableError for an image that is not there."""
    with engine_errors(f"looking at the image {reference}"):
        try:
            image = client.images.get(reference)
        except ImageNotFound as error:
            raise UnavailableError(
                f"the engine has no image {reference}",
                remedy="Build or pull it first; `docker image ls` lists what is there.",
            ) from error
    found: dict[str, Any] = image.attrs
    return found


def saved_chunks(client: docker.DockerClient, reference: str) -> Iterator[bytes]:
    """The archive of an image, as `docker save` writes it, piece by piece."""
    with engine_errors(f"saving the image {reference}"):
        yield from client.api.get_image(reference)
