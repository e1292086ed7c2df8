"""Pushes an image to a registry, with the user's login, and records it in the cache."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import docker
import docker.errors
import requests

from comfy_errors import InvalidInputError, OperationFailedError, UnavailableError
from comfy_files.files import replace_file
from runpod_comfy.cache.paths import Cache
from runpod_comfy.images.docker.stream import (
    How,
    Message,
    Transfer,
    Transfers,
    engine_errors,
    failed,
    read_messages,
)
from runpod_comfy.images.registry.names import split_reference

_BETWEEN_S = 0.2
_OUT_OF_REACH = re.compile(
    r"connection refused|no such host|server misbehaving|network is unreachable|no route to host|"
    r"i/o timeout|request canceled while waiting for connection"
)
_DIGEST = re.compile(r": digest: (sha256:[0-9a-f]{64}) size: \d+$")


@dataclass(frozen=True, kw_only=True)
class PushedLayer:
    """A layer of an image that is now in a registry.

    `digest` is the one in the image's config; if the engine reports another, that one. `size_bytes`
    is the amount sent, None if the layer already existed.
    """

    digest: str
    how: How
    size_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class PushResult:
    """`digest` is the registry's, for pulling the image: `<repository>@<digest>`."""

    reference: str
    digest: str
    layers: tuple[PushedLayer, ...]

    @property
    def pinned(self) -> str:
        return f"{split_reference(self.reference)[0]}@{self.digest}"


@dataclass(frozen=True, kw_only=True)
class PushRecord:
    """A push, the version and lock that its image was built from, and the engine's image id."""

    pushed: PushResult
    version_id: str
    lock_digest: str
    image_id: str

    def document(self) -> dict[str, Any]:
        return {
            **asdict(self.pushed),
            "pinned": self.pushed.pinned,
            "version_id": self.version_id,
            "lock_digest": self.lock_digest,
            "image": self.image_id,
        }


class PushShow:
    """Shows a push; this base class shows nothing."""

    def layer(self, layer: PushedLayer) -> None:
        """The layer is in the registry."""

    def under_way(self, sentence: str) -> None:
        """The progress of all layers."""


def tag_image(client: docker.DockerClient, image: str, reference: str) -> None:
    """Gives an image on the engine another name.

    Raises InvalidInputError for an invalid name, UnavailableError if there is no such image.
    """
    repository, tag = split_reference(reference)
    try:
        client.api.tag(image, repository, tag)
    except docker.errors.ImageNotFound as error:
        raise UnavailableError(f"there is no image {image} on this engine") from error
    except docker.errors.APIError as error:
        raise InvalidInputError(
            f"{reference} is not a valid image name: {error.explanation}",
            remedy="Write registry and repository in lowercase, without https://, as in "
            "registry.example.org/me.",
        ) from error


@contextlib.contextmanager
def temporary_tag(client: docker.DockerClient, image: str, reference: str) -> Iterator[None]:
    """Gives an image on the engine another name, and undoes that if the block fails.

    Raises what `tag_image` raises.
    """
    before: str | None = None
    with contextlib.suppress(docker.errors.APIError):
        before = client.images.get(reference).id
    tag_image(client, image, reference)
    try:
        yield
    except BaseException:
        # The error of the block is the one to report.
        with contextlib.suppress(docker.errors.DockerException, requests.RequestException):
            if before is None:
                client.api.remove_image(reference)
            else:
                client.api.tag(before, *split_reference(reference))
        raise


def push(client: docker.DockerClient, reference: str, *, show: PushShow) -> PushResult:
    """Pushes the engine's image `reference` to the registry in its name.

    Raises UnavailableError if the registry cannot be reached, OperationFailedError for any other
    failure, with the registry's reason.
    """
    try:
        return _push(client, reference, show)
    except OperationFailedError as error:
        if _OUT_OF_REACH.search(error.message):
            raise UnavailableError(error.message, remedy=error.remedy) from error
        raise


def _push(client: docker.DockerClient, reference: str, show: PushShow) -> PushResult:
    doing = f"pushing {reference}"
    repository, tag = split_reference(reference)
    with engine_errors(doing):
        diffs: list[str] = client.images.get(reference).attrs["RootFS"]["Layers"]
        stream = client.api.push(repository, tag=tag, stream=True, decode=True)
    transfers, digest, told_at = Transfers(), None, 0.0
    for message in read_messages(stream, doing=doing):
        digest = _digest_in(message) or digest
        if done := transfers.handle(message):
            show.layer(_pushed(done, diffs))
        if transfers.layers and time.monotonic() - told_at > _BETWEEN_S:
            told_at = time.monotonic()
            show.under_way(transfers.in_words())
    if digest is None:
        raise failed(doing, "the engine closed the stream without a reason")
    layers = [_pushed(each, diffs) for each in transfers.layers if each.how]
    place = {diff: number for number, diff in enumerate(diffs)}
    layers.sort(key=lambda layer: place.get(layer.digest, len(place)))
    return PushResult(reference=reference, digest=digest, layers=tuple(layers))


def record_push(cache: Cache, record: PushRecord) -> Path:
    """Writes `pushed/<repository>/<tag>.json` in the cache, replacing an older one."""
    repository, tag = split_reference(record.pushed.reference)
    path = cache.pushed / repository / f"{tag}.json"
    with cache.writing():
        text = json.dumps(record.document(), indent=2, sort_keys=True) + "\n"
        replace_file(path, text.encode())
    return path


def _digest_in(message: Message) -> str | None:
    """The registry's digest, which is inside a sentence if images are in containerd's store."""
    if isinstance(pushed := message.get("aux"), dict) and "Digest" in pushed:
        return str(pushed["Digest"])
    found = _DIGEST.search(str(message.get("status", "")))
    return found.group(1) if found else None


def _pushed(transfer: Transfer, diffs: list[str]) -> PushedLayer:
    whole = [diff for diff in diffs if diff.startswith(f"sha256:{transfer.layer}")]
    return PushedLayer(
        digest=whole[0] if whole else transfer.layer,
        how=transfer.how or "pushed",
        size_bytes=transfer.size_bytes if transfer.how == "pushed" else None,
    )
