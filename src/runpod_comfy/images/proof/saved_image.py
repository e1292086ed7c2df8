"""Reads the archives that `docker save` writes, in one pass.

Engines before 25 name layers `<id>/layer.tar`, later ones `blobs/sha256/<digest>`; `manifest.json`
maps them in both cases, and comes after the layers
(https://github.com/moby/docker-image-spec/blob/main/spec.md). A layer is a tar file, and engines
write tar headers differently; only what a container sees is recorded
(https://github.com/opencontainers/image-spec/blob/main/layer.md).
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import posixpath
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import IO, Any, Literal

from comfy_errors import InvalidInputError

MANIFEST = "manifest.json"

Kind = Literal["file", "folder", "symbolic link", "hard link", "device", "fifo", "removal"]

_KINDS: dict[bytes, Kind] = {
    tarfile.DIRTYPE: "folder",
    tarfile.SYMTYPE: "symbolic link",
    tarfile.FIFOTYPE: "fifo",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
}
_REMOVAL = ".wh."
_XATTR = "SCHILY.xattr."
_LONGEST_DOCUMENT_BYTES = 4 << 20
# Python copies its read-ahead buffer for each header, so it is kept small.
_BLOCK_BYTES = 64 << 10


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerFile:
    """One entry of a layer.

    `mode` has the twelve permission bits, `mtime` is in whole seconds since 1970, `size` in bytes.
    `first_name` is the first name, in this layer, of a file with several names. `xattrs` are
    extended attributes as in a tar file, `number` is a device number.
    """

    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int = 0
    sha256: str | None = None
    target: str | None = None
    first_name: str | None = None
    number: tuple[int, int] | None = None
    xattrs: tuple[tuple[str, str], ...] = ()


class ChunkStream(io.RawIOBase):
    """A readable stream over the chunks of bytes that an engine sends."""

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
        """`sha256:…` of each layer's tar file, from the configuration."""
        return tuple(self.config["rootfs"]["diff_ids"])


def read_image(stream: IO[bytes]) -> ImageFiles:
    """Reads a saved image in one pass; memory only grows with the number of its files.

    Raises InvalidInputError for anything but an archive of one image.
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
                    # Anything else, such as a small layer, is none.
                    with contextlib.suppress(ValueError):
                        documents[member.name] = json.loads(content.getvalue())
                        continue
                # Not a layer, such as the file VERSION. A damaged layer is reported as missing
                # below.
                with (
                    contextlib.suppress(tarfile.ReadError),
                    # Engines that keep images as a registry does save their layers compressed.
                    tarfile.open(fileobj=content, mode="r|*", bufsize=_BLOCK_BYTES) as layer,
                ):
                    layers[member.name] = read_layer(layer)
        config, names = archive_names(documents.get(MANIFEST), aliases)
        return ImageFiles(config=documents[config], layers=tuple(layers[name] for name in names))
    except (tarfile.TarError, EOFError, KeyError) as error:
        raise InvalidInputError(
            f"this is not the archive of an image, or it is truncated: {error}"
        ) from error


def archive_names(manifest: Any, aliases: Mapping[str, str]) -> tuple[str, list[str]]:
    """The names of the configuration and the layers, lowest first, in an archive of one image.

    `manifest` is its `manifest.json`, `aliases` are its links: a layer that occurs twice is saved
    once.
    """
    if not isinstance(manifest, list) or len(manifest) != 1:
        raise InvalidInputError(
            "this is not the archive of one image",
            remedy="Save one with `docker save IMAGE -o FILE`.",
        )
    (image,) = manifest
    return image["Config"], [aliases.get(name, name) for name in image["Layers"]]


def alias_of(member: tarfile.TarInfo) -> str:
    """The target of a link inside an archive."""
    if member.islnk():
        return member.linkname
    folder = posixpath.dirname(member.name)
    return posixpath.normpath(posixpath.join(folder, member.linkname))


def read_layer(layer: tarfile.TarFile) -> dict[str, LayerFile]:
    """Every entry of a layer by its path, without a leading `/`. The tar file may be a stream."""
    found: dict[str, LayerFile] = {}
    links: dict[str, str] = {}
    for member in layer:
        path = path_of(member)
        if member.islnk():
            links[path] = member.linkname.removeprefix("./").strip("/")
        else:
            links.pop(path, None)
            found[path] = _describe(layer, member)
    for name, names in names_of_files(links).items():
        # A link to a file of a lower layer: no engine writes that, but the format allows it.
        below = LayerFile(kind="hard link", mode=0, uid=0, gid=0, mtime=0, target=name)
        file = replace(found[name], first_name=names[0]) if name in found else below
        for path in names:
            if path != name or name in found:
                found[path] = file
    return found


def names_of_files(links: Mapping[str, str]) -> dict[str, list[str]]:
    """The files of a layer with several names: maps the name with the content to all names, sorted.
    `links` maps each hard link to its target.
    """
    found: dict[str, list[str]] = {}
    for path in links:
        content, passed = path, set()
        while content in links:
            if content in passed:
                raise InvalidInputError(
                    f"a layer has hard links that only lead to each other: {path}"
                )
            passed.add(content)
            content = links[content]
        found.setdefault(content, [content]).append(path)
    return {content: sorted(names) for content, names in found.items()}


def path_of(member: tarfile.TarInfo) -> str:
    """The path of an entry, without a leading `/` or `./`; empty for the root itself."""
    path = member.name.removeprefix("./").strip("/")
    return "" if path == "." else path


def is_removal(path: str) -> bool:
    """True if the entry only marks something in a lower layer as removed."""
    return path.rpartition("/")[2].startswith(_REMOVAL)


def xattrs_of(member: tarfile.TarInfo) -> dict[str, str]:
    """The extended attributes of an entry, under their names in the tar file."""
    return {
        key: value for key, value in sorted(member.pax_headers.items()) if key.startswith(_XATTR)
    }


def _describe(layer: tarfile.TarFile, member: tarfile.TarInfo) -> LayerFile:
    described = LayerFile(
        kind="removal" if is_removal(member.name) else _KINDS.get(member.type, "file"),
        mode=member.mode & 0o7777,
        uid=member.uid,
        gid=member.gid,
        mtime=int(member.mtime),
        xattrs=tuple(xattrs_of(member).items()),
    )
    if member.issym():
        return replace(described, target=member.linkname, mode=0o777)
    if member.isdev() and not member.isfifo():
        return replace(described, number=(member.devmajor, member.devminor))
    if described.kind != "file":
        return described
    content = layer.extractfile(member)
    assert isinstance(content, io.BufferedReader)
    sha256 = hashlib.file_digest(content, "sha256").hexdigest()
    return replace(described, size=member.size, sha256=sha256)
