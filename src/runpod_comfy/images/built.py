"""An image of ours that an engine has, and what its labels say it was built from."""

from __future__ import annotations

from dataclasses import dataclass

import docker
import docker.errors

from comfy_errors import InvalidInputError, UnavailableError
from runpod_comfy.images import labels
from runpod_comfy.images.docker.stream import engine_errors


@dataclass(frozen=True, kw_only=True)
class BuiltImage:
    """`reference` is the name it was asked for by, `image_id` the engine's."""

    reference: str
    image_id: str
    version_id: str
    lock_digest: str


def find_built(client: docker.DockerClient, reference: str) -> BuiltImage:
    """The image of that name.

    Raises UnavailableError if the engine has none, InvalidInputError if it is not one of ours.
    """
    with engine_errors(f"looking for the image {reference}"):
        try:
            image = client.images.get(reference)
        except docker.errors.ImageNotFound as error:
            raise UnavailableError(
                f"there is no image {reference} on this engine",
                remedy="Build it (runpod-comfy image build, or make image VERSION=…), or name "
                "another one: --image, TAG= with make.",
            ) from error
    version_id = image.labels.get(labels.VERSION)
    lock_digest = image.labels.get(labels.LOCK)
    if not version_id or not lock_digest:
        raise InvalidInputError(
            f"{reference} was not built by runpod-comfy: it has no label {labels.LOCK}",
            remedy="Name an image that `runpod-comfy image build` made.",
        )
    return BuiltImage(
        reference=reference,
        image_id=str(image.id),
        version_id=version_id,
        lock_digest=lock_digest,
    )
