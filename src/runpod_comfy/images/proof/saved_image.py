"""The archives that `docker save` writes: what is in them, read in one pass as they come.

Engines before 25 name layers `<id>/layer.tar`, later ones `blobs/sha256/<digest>`; `manifest.json`
says which is which in both, and comes after the layers
(https://github.com/moby/docker-image-spec/blob/main/spec.md).
"""

from __future__ import annotations

import contextlib
import io
import json
import posixpath
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from comfy_errors import InvalidInputError
from runpod_comfy.images.proof.layer_files import LayerFile, read_layer

MANIFEST = "manifest.json"

_LONGEST_DOCUMENT_BYTES = 4 << 20
# Python copies what it read ahead for each header that it takes out of that.
_BLOCK_BYTES = 64 << 10


class ChunkStream(io.RawIOBase):
    """Chunks of bytes, as an engine sends them, as a stream to read from."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


@dataclass(frozen=True, kw_only=True)
class ImageFiles:
    """A saved image: its configuration, and the files of each layer by path, lowest layer first."""

    config: Mapping[str, Any]
    layers: tuple[Mapping[str, LayerFile], ...]

    @property
    def digests(self) -> tuple[str, ...]:
        """`sha256:…` of each layer's tar file, as the configuration tells them."""
        return tuple(self.config["rootfs"]["diff_ids"])


@dataclass(frozen=True, kw_only=True)
class ArchiveNames:
    """Where an archive has the configuration and the layers, lowest first."""

    config: str
    layers: tuple[str, ...]


def read_image(stream: IO[bytes]) -> ImageFiles:
    """Reads a saved image once, front to back; memory grows with the number of its files only.

    Raises InvalidInputError for what is not an archive of one image.
    """
    documents: dict[str, Any] = {}
    layers: dict[str, dict[str, LayerFile]] = {}
    aliases: dict[str, str] = {}
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_BLOCK_BYTES) as archive:
            for member in archive:
                if member.issym() or member.islnk():
                    aliases[member.name] = alias_of(member)
                if not member.isreg():
                    continue
                content = archive.extractfile(member)
                assert content is not None
                if member.size <= _LONGEST_DOCUMENT_BYTES:
                    content = io.BytesIO(content.read())
                    document = as_document(content.getvalue())
                    if document is not None:
                        documents[member.name] = document
                        continue
                # Something else than a layer, such as the file VERSION. A layer that is damaged is
                # missed below.
                with contextlib.suppress(tarfile.ReadError):
                    layers[member.name] = _read_packed_layer(content)
        names = archive_names(documents.get(MANIFEST), aliases)
        return ImageFiles(
            config=documents[names.config], layers=tuple(layers[name] for name in names.layers)
        )
    except (tarfile.TarError, EOFError, KeyError) as error:
        raise InvalidInputError(
            f"this is not the archive of an image, or it is cut short: {error}"
        ) from error


def _read_packed_layer(content: IO[bytes]) -> dict[str, LayerFile]:
    # Engines that keep images as a registry does save their layers compressed.
    with tarfile.open(fileobj=content, mode="r|*", bufsize=_BLOCK_BYTES) as layer:
        return read_layer(layer)


def archive_names(manifest: Any, aliases: Mapping[str, str]) -> ArchiveNames:
    """What `manifest.json` says of the one image of an archive.

    `aliases` are its links, because a layer that occurs twice is saved once.
    """
    if not isinstance(manifest, list) or len(manifest) != 1:
        raise InvalidInputError(
            "this is not the archive of one image",
            remedy="Save one with `docker save IMAGE -o FILE`.",
        )
    (image,) = manifest
    return ArchiveNames(
        config=image["Config"],
        layers=tuple(aliases.get(name, name) for name in image["Layers"]),
    )


def alias_of(member: tarfile.TarInfo) -> str:
    """What a link inside an archive leads to."""
    if member.islnk():
        return member.linkname
    folder = posixpath.dirname(member.name)
    return posixpath.normpath(posixpath.join(folder, member.linkname))


def as_document(content: bytes) -> Any:
    """JSON that was read, or None for anything else, such as a layer."""
    if not content.startswith((b"{", b"[")):
        return None
    try:
        return json.loads(content)
    except ValueError:
        return None
