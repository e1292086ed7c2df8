"""A layer written again with fixed headers: the same files give the same bytes.

The format is pax (POSIX.1-2001) as Python's tarfile writes it: entries sorted by path, whole
seconds, numbers for owners and no names, extended attributes as `SCHILY.xattr.*`.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runpod_comfy.images.proof.layer_files import is_removal, names_of_files, path_of, xattrs_of

_CHUNK_BYTES = 1 << 20
_END = bytes(2 * tarfile.BLOCKSIZE)


@dataclass(frozen=True, kw_only=True)
class NormalEntry:
    """A header as it will be written, and the entry of the old layer that has its content."""

    header: tarfile.TarInfo
    content: tarfile.TarInfo | None = None


def normal_entries(layer: tarfile.TarFile) -> list[NormalEntry]:
    """The entries of a layer in their order and with their headers. Of two with one path the last
    counts; of a file with several names the first one gets the content."""
    members: dict[str, tarfile.TarInfo] = {}
    links: dict[str, str] = {}
    for member in layer:
        path = path_of(member)
        members[path] = member
        links.pop(path, None)
        if member.islnk():
            links[path] = member.linkname.removeprefix("./").strip("/")
    entries = {path: _entry(path, member) for path, member in members.items()}
    for names in names_of_files(links):
        if names.content in members:
            content = members[names.content]
            for path in (names.content, *names.links):
                entries[path] = _linked(path, names.first, content)
    return [entries[path] for path in sorted(entries, key=_encoded)]


def normal_size(entries: Sequence[NormalEntry]) -> int:
    """How many bytes `write_layer` gives."""
    sizes = (len(_header_bytes(each)) + _padded(each.header.size) for each in entries)
    return sum(sizes) + len(_END)


def write_layer(layer: tarfile.TarFile, entries: Sequence[NormalEntry]) -> Iterator[bytes]:
    """The bytes of the layer, piece by piece; contents come from the old one."""
    for entry in entries:
        yield _header_bytes(entry)
        if entry.content is None:
            continue
        content = layer.extractfile(entry.content)
        assert content is not None
        while chunk := content.read(_CHUNK_BYTES):
            yield chunk
        yield bytes(_padded(entry.header.size) - entry.header.size)
    yield _END


def _entry(path: str, member: tarfile.TarInfo) -> NormalEntry:
    header = tarfile.TarInfo(path or "./")
    if is_removal(path):
        # Its path is all that it says. Engines give it the time at which it was made.
        header.mode = 0
        return NormalEntry(header=header)
    header.mode = 0o777 if member.issym() else member.mode & 0o7777
    header.uid, header.gid = member.uid, member.gid
    header.mtime = int(member.mtime)
    header.pax_headers = xattrs_of(member)
    if member.isreg():
        header.size = member.size
        return NormalEntry(header=header, content=member if member.size else None)
    header.type = member.type
    if member.issym() or member.islnk():
        header.linkname = member.linkname
    if member.isdev() and not member.isfifo():
        header.devmajor, header.devminor = member.devmajor, member.devminor
    return NormalEntry(header=header)


def _linked(path: str, first: str, content: tarfile.TarInfo) -> NormalEntry:
    entry = _entry(path, content)
    if path == first:
        return entry
    header = entry.header
    header.type, header.size, header.linkname, header.pax_headers = tarfile.LNKTYPE, 0, first, {}
    return NormalEntry(header=header)


def _header_bytes(entry: NormalEntry) -> bytes:
    return entry.header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _padded(size_bytes: int) -> int:
    return -(-size_bytes // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _encoded(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")
