"""What a layer holds, file by file, as far as an image is concerned.

A layer is a tar file, and engines write tar headers differently. What is noted here is what a
container sees of them (https://github.com/opencontainers/image-spec/blob/main/layer.md).
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from comfy_errors import InvalidInputError

Kind = Literal["file", "folder", "symbolic link", "hard link", "device", "fifo", "removal"]

OPAQUE = ".wh..wh..opq"
"""Beside it, everything from the layers below is gone."""

_REMOVAL = ".wh."
_XATTR = "SCHILY.xattr."
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerFile:
    """One entry of a layer.

    `mode` are the twelve permission bits, `mtime` is in whole seconds since 1970, `size` in bytes.
    `first_name` is, for a file with several names, the first of them in this layer.
    `xattrs` are extended attributes as a tar file has them, `number` is that of a device.
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

    def differences(self, other: LayerFile) -> Iterator[tuple[str, Any, Any]]:
        """What differs: the name of the property, and its two values."""
        for field in fields(self):
            mine, others = getattr(self, field.name), getattr(other, field.name)
            if mine != others:
                yield field.name, mine, others


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
    for names in names_of_files(links):
        content = found.get(names.content)
        if content is None:
            # To a file of a layer below, which no engine writes, but the format allows.
            for path in names.links:
                found[path] = LayerFile(
                    kind="hard link", mode=0, uid=0, gid=0, mtime=0, target=names.content
                )
            continue
        for path in (names.content, *names.links):
            found[path] = replace(content, first_name=names.first)
    return found


@dataclass(frozen=True, kw_only=True)
class FileNames:
    """The names of one file: the one that holds the content in the tar file, and the others."""

    content: str
    links: tuple[str, ...]

    @property
    def first(self) -> str:
        return min(self.content, *self.links)


def names_of_files(links: Mapping[str, str]) -> Iterable[FileNames]:
    """The files of a layer that have several names; `links` maps each hard link to its target."""
    grouped: dict[str, list[str]] = {}
    for path in links:
        content = path
        while content in links:
            content = links[content]
            if content == path:
                raise InvalidInputError(
                    f"a layer has hard links that only lead to each other: {path}"
                )
        grouped.setdefault(content, []).append(path)
    return [FileNames(content=content, links=tuple(paths)) for content, paths in grouped.items()]


def path_of(member: tarfile.TarInfo) -> str:
    """The path of an entry, without a leading `/` or `./`; empty for the root itself."""
    path = member.name.removeprefix("./").strip("/")
    return "" if path == "." else path


def is_removal(path: str) -> bool:
    """Whether the entry only says that something of a layer below is gone."""
    return path.rpartition("/")[2].startswith(_REMOVAL)


def xattrs_of(member: tarfile.TarInfo) -> dict[str, str]:
    """The extended attributes of an entry, under the names that a tar file has for them."""
    return {
        key: value for key, value in sorted(member.pax_headers.items()) if key.startswith(_XATTR)
    }


def _describe(layer: tarfile.TarFile, member: tarfile.TarInfo) -> LayerFile:
    described = LayerFile(
        kind=_kind(member),
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
    assert content is not None
    digest = hashlib.sha256()
    for chunk in iter(lambda: content.read(_CHUNK_BYTES), b""):
        digest.update(chunk)
    return replace(described, size=member.size, sha256=digest.hexdigest())


def _kind(member: tarfile.TarInfo) -> Kind:
    if is_removal(member.name):
        return "removal"
    if member.isdir():
        return "folder"
    if member.issym():
        return "symbolic link"
    if member.isfifo():
        return "fifo"
    if member.isdev():
        return "device"
    return "file"
