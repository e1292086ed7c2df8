"""An image sent to a registry, with the person's login."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Literal, Protocol

import docker
import docker.errors

from comfy_errors import InvalidInputError, UnavailableError
from runpod_comfy.images.docker.layer_transfer import Transfer, Transfers
from runpod_comfy.images.docker.stream import Message, engine_errors, failed, read_messages
from runpod_comfy.images.registry.names import split_reference

_BETWEEN_S = 0.2
_DIGEST = re.compile(r": digest: (sha256:[0-9a-f]{64}) size: \d+$")
_HOW: dict[str, Literal["pushed", "mounted", "existing"]] = {
    "moved": "pushed",
    "mounted": "mounted",
    "existing": "existing",
}


@dataclass(frozen=True, kw_only=True)
class PushedLayer:
    """A layer of an image that is in a registry now.

    `digest` is that of its files as the image's config has it; where an engine names another, what
    it names. `size_bytes` is what was sent, None for what was there.
    """

    digest: str
    how: Literal["pushed", "mounted", "existing"]
    size_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class PushResult:
    """`digest` is the registry's, by which the image can be pulled: `<repository>@<digest>`."""

    reference: str
    digest: str
    layers: tuple[PushedLayer, ...]

    @property
    def pinned(self) -> str:
        return f"{split_reference(self.reference)[0]}@{self.digest}"


class PushShow(Protocol):
    """Whoever shows a push."""

    def layer(self, layer: PushedLayer) -> None:
        """It is in the registry."""

    def under_way(self, sentence: str) -> None:
        """How far all of them are."""


def tag_image(client: docker.DockerClient, image: str, reference: str) -> None:
    """Gives an image of the engine another name.

    Raises InvalidInputError for a name that is none, UnavailableError without the image.
    """
    repository, tag = split_reference(reference)
    try:
        client.api.tag(image, repository, tag)
    except docker.errors.ImageNotFound as error:
        raise UnavailableError(f"there is no image {image} on this engine") from error
    except docker.errors.APIError as error:
        raise InvalidInputError(
            f"{reference} is no name for an image: {error.explanation}",
            remedy="Registry and repository are in small letters, without https://, as in "
            "registry.example.org/me.",
        ) from error


def push(client: docker.DockerClient, reference: str, *, show: PushShow) -> PushResult:
    """Sends what the engine knows as `reference` to the registry that it names.

    Raises OperationFailedError with the registry's reason.
    """
    doing = f"pushing {reference}"
    repository, tag = split_reference(reference)
    with engine_errors(doing):
        diffs: list[str] = client.images.get(reference).attrs["RootFS"]["Layers"]
        stream = client.api.push(repository, tag=tag, stream=True, decode=True)
    transfers, digest, told_at = Transfers(), None, 0.0
    for message in read_messages(stream, doing=doing):
        digest = _digest_in(message) or digest
        if done := transfers.hear(message):
            show.layer(_pushed(done, diffs))
        if transfers.layers and time.monotonic() - told_at > _BETWEEN_S:
            told_at = time.monotonic()
            show.under_way(transfers.in_words())
    if digest is None:
        raise failed(doing, "the engine broke off without a reason")
    layers = [_pushed(each, diffs) for each in transfers.layers if each.how]
    place = {diff: number for number, diff in enumerate(diffs)}
    layers.sort(key=lambda layer: place.get(layer.digest, len(place)))
    return PushResult(reference=reference, digest=digest, layers=tuple(layers))


def _digest_in(message: Message) -> str | None:
    """The registry's digest, which stands in a sentence where images lie in containerd's store."""
    if isinstance(pushed := message.get("aux"), dict) and "Digest" in pushed:
        return str(pushed["Digest"])
    found = _DIGEST.search(str(message.get("status", "")))
    return found.group(1) if found else None


def _pushed(transfer: Transfer, diffs: list[str]) -> PushedLayer:
    whole = [diff for diff in diffs if diff.startswith(f"sha256:{transfer.layer}")]
    return PushedLayer(
        digest=whole[0] if whole else transfer.layer,
        how=_HOW[transfer.how or "moved"],
        size_bytes=transfer.size_bytes if transfer.how == "moved" else None,
    )
