"""Rewrites an image so that its id only depends on its files, not on the engine that built it.

The image is saved, the layers above its base get fixed headers and the configuration fixed times,
and the result is loaded with the same tags.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import docker
from docker.errors import APIError

from comfy_errors import InvalidInputError
from comfy_files.progress import Say, readable_size
from comfy_files.space import require_room
from runpod_comfy.cache.paths import MORE_ROOM
from runpod_comfy.images.docker.local_images import inspect_image, saved_chunks
from runpod_comfy.images.docker.stream import engine_errors, read_messages
from runpod_comfy.images.dockerfile import BASE_NAME
from runpod_comfy.images.proof.normal_form import (
    normal_config,
    normal_entries,
    normal_size,
    write_layer,
)
from runpod_comfy.images.proof.saved_image import MANIFEST, alias_of, archive_names

_GZIP = b"\x1f\x8b"
_CHUNK_BYTES = 1 << 20
_TOLD_EVERY_BYTES = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Normalized:
    """An image before and after: its ids, its tags, and the new digests of its layers."""

    before: str
    image_id: str
    tags: tuple[str, ...]
    layers: tuple[str, ...]


def normalize(
    client: docker.DockerClient, reference: str, *, base: str | None, scratch: Path, say: Say
) -> Normalized:
    """Rewrites an image on its engine; the old one is removed if nothing else uses it.

    `base` is the image that it is based on, by default the one in its label. The folder `scratch`
    needs space for one copy of the image. Raises UnavailableError if the image does not exist,
    InvalidInputError if `base` is not its base.
    """
    image = inspect_image(client, reference)
    tags = tuple(image["RepoTags"] or ())
    below = _layers_below(client, image, base)
    with tempfile.TemporaryFile(dir=scratch) as saved:
        _save(client, image, saved, scratch, say)
        rewriting = Rewriting(saved=saved, kept=below, tags=tags, scratch=scratch, say=say)
        with engine_errors("loading the rewritten image"):
            answer = client.api.load_image(  # type: ignore[no-untyped-call]
                rewriting.archive(), quiet=True
            )
        for _ in read_messages(answer, doing="loading the rewritten image"):
            pass
    image_id = f"sha256:{rewriting.config_digest}"
    if image_id != image["Id"]:
        # A container may use it, or it may be the parent of another image.
        with contextlib.suppress(APIError):
            client.images.remove(image["Id"])
    inspect_image(client, image_id)
    return Normalized(
        before=image["Id"], image_id=image_id, tags=tags, layers=tuple(rewriting.digests)
    )


@dataclass(kw_only=True)
class Rewriting:
    """Rewrites a saved image into a new archive.

    The lowest `kept` layers are not changed. `digests` and `config_digest` are known when the
    archive is finished.
    """

    saved: IO[bytes]
    kept: int
    tags: Sequence[str]
    scratch: Path
    say: Say
    digests: list[str] = field(default_factory=list)
    config_digest: str = ""

    def archive(self) -> Iterator[bytes]:
        """The new archive for `docker load`, in chunks."""
        self.saved.seek(0)
        with tarfile.open(fileobj=self.saved, mode="r:") as archive:
            members = {member.name: member for member in archive}
            aliases = {
                name: alias_of(member)
                for name, member in members.items()
                if member.issym() or member.islnk()
            }
            config_name, names = archive_names(
                json.loads(_read(archive, members[MANIFEST])), aliases
            )
            config = json.loads(_read(archive, members[config_name]))
            paths = [f"{index}/layer.tar" for index in range(len(names))]
            for name, path in zip(names, paths, strict=True):
                with _unpacked(archive, members[name], self.scratch) as (layer, size_bytes):
                    yield from self._layer(path, layer, size_bytes, count=len(names))
        content = normal_config(config, self.digests)
        self.config_digest = hashlib.sha256(content).hexdigest()
        config_name = f"{self.config_digest}.json"
        manifest = [{"Config": config_name, "RepoTags": list(self.tags) or None, "Layers": paths}]
        for name, text in ((config_name, content), (MANIFEST, json.dumps(manifest).encode())):
            yield _header(name, len(text)) + text + bytes(-len(text) % tarfile.BLOCKSIZE)
        yield bytes(2 * tarfile.BLOCKSIZE)

    def _layer(
        self, path: str, layer: IO[bytes], size_bytes: int, *, count: int
    ) -> Iterator[bytes]:
        index = len(self.digests)
        if index < self.kept:
            chunks = iter(lambda: layer.read(_CHUNK_BYTES), b"")
        else:
            self.say(f"Layer {index + 1} of {count}, {readable_size(size_bytes)}")
            opened = tarfile.open(fileobj=layer, mode="r:")  # noqa: SIM115 (has no file of its own)
            entries = normal_entries(opened)
            size_bytes, chunks = normal_size(entries), write_layer(opened, entries)
        digest = hashlib.sha256()
        yield _header(path, size_bytes)
        for chunk in chunks:
            digest.update(chunk)
            yield chunk
        yield bytes(-size_bytes % tarfile.BLOCKSIZE)
        self.digests.append(f"sha256:{digest.hexdigest()}")


def _layers_below(client: docker.DockerClient, image: dict[str, Any], base: str | None) -> int:
    """The number of the image's layers that belong to its base."""
    named = base or (image["Config"].get("Labels") or {}).get(BASE_NAME)
    if not named:
        raise InvalidInputError(
            "the image does not say what it is based on", remedy="Name its base with --base."
        )
    below = inspect_image(client, named)["RootFS"]["Layers"]
    layers = image["RootFS"]["Layers"]
    if layers[: len(below)] != below:
        raise InvalidInputError(
            f"the image is not based on the {named} that the engine has now",
            remedy="Name its real base with --base, or build it again.",
        )
    return len(below)


def _save(
    client: docker.DockerClient,
    image: dict[str, Any],
    target: IO[bytes],
    scratch: Path,
    say: Say,
) -> None:
    size = readable_size(image["Size"])
    require_room([(scratch, image["Size"])], remedy=MORE_ROOM)
    say(f"Saving the image, about {size}")
    written = told = 0
    for chunk in saved_chunks(client, image["Id"]):
        target.write(chunk)
        written += len(chunk)
        if written - told >= _TOLD_EVERY_BYTES:
            told = written
            say(f"Saved {readable_size(written)} of about {size}")


@contextlib.contextmanager
def _unpacked(
    archive: tarfile.TarFile, member: tarfile.TarInfo, scratch: Path
) -> Iterator[tuple[IO[bytes], int]]:
    """A layer's tar file, seekable, and its size in bytes."""
    content = archive.extractfile(member)
    assert content is not None
    packed = content.read(len(_GZIP)) == _GZIP
    content.seek(0)
    if not packed:
        yield content, member.size
        return
    # Engines with containerd's image store save layers compressed.
    with tempfile.TemporaryFile(dir=scratch) as plain, gzip.open(content) as unpacking:
        shutil.copyfileobj(unpacking, plain, _CHUNK_BYTES)
        size = plain.tell()
        plain.seek(0)
        yield plain, size


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    content = archive.extractfile(member)
    assert content is not None
    return content.read()


def _header(name: str, size_bytes: int) -> bytes:
    header = tarfile.TarInfo(name)
    header.size = size_bytes
    return header.tobuf(tarfile.GNU_FORMAT)
