"""Writes layers and configurations in a normal form: equal files and settings give equal bytes.

The format of a layer is pax (POSIX.1-2001) as Python's tarfile writes it: entries sorted by path,
whole seconds, numbers for owners and no names, extended attributes as `SCHILY.xattr.*`. Of a
configuration, only what containers see is kept
(https://github.com/opencontainers/image-spec/blob/main/config.md, and Docker's additions).
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runpod_comfy.images.dockerfile import CREATED
from runpod_comfy.images.proof.saved_image import (
    is_removal,
    names_of_files,
    path_of,
    xattrs_of,
)

_CHUNK_BYTES = 1 << 20
_END = bytes(2 * tarfile.BLOCKSIZE)
_KEPT = ("architecture", "os", "os.version", "variant")
_SETTINGS = (
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
    "StopTimeout",
    "Shell",
    "Healthcheck",
    "OnBuild",
)
_UNKNOWN_TIME = "1970-01-01T00:00:00Z"


@dataclass(frozen=True, kw_only=True)
class NormalEntry:
    """A header to write, and the entry of the old layer with its content."""

    header: tarfile.TarInfo
    content: tarfile.TarInfo | None = None


def normal_entries(layer: tarfile.TarFile) -> list[NormalEntry]:
    """The entries of a layer in order, with their headers. Of two entries with one path the last is
    used; for a file with several names the first entry gets the content.
    """
    members: dict[str, tarfile.TarInfo] = {}
    links: dict[str, str] = {}
    for member in layer:
        path = path_of(member)
        members[path] = member
        links.pop(path, None)
        if member.islnk():
            links[path] = member.linkname.removeprefix("./").strip("/")
    entries = {path: _entry(path, member) for path, member in members.items()}
    for name, names in names_of_files(links).items():
        if name in members:
            entries |= {path: _linked(path, names[0], members[name]) for path in names}
    return [entries[path] for path in sorted(entries, key=os.fsencode)]


def normal_size(entries: Sequence[NormalEntry]) -> int:
    """The number of bytes that `write_layer` yields."""
    sizes = ((len(_header_bytes(each)), each.header.size) for each in entries)
    return sum(header + size + -size % tarfile.BLOCKSIZE for header, size in sizes) + len(_END)


def write_layer(layer: tarfile.TarFile, entries: Sequence[NormalEntry]) -> Iterator[bytes]:
    """The bytes of the layer in chunks; contents come from the old layer."""
    for entry in entries:
        yield _header_bytes(entry)
        if entry.content is None:
            continue
        content = layer.extractfile(entry.content)
        assert content is not None
        while chunk := content.read(_CHUNK_BYTES):
            yield chunk
        yield bytes(-entry.header.size % tarfile.BLOCKSIZE)
    yield _END


def normal_config(config: Mapping[str, Any], digests: Sequence[str]) -> bytes:
    """The bytes of the configuration, for layers with these `sha256:…` digests.

    The time of the image and of its history is taken from its label, else 1970.
    """
    settings = config.get("config") or {}
    created = (settings.get("Labels") or {}).get(CREATED, _UNKNOWN_TIME)
    document = {
        **{key: config[key] for key in _KEPT if config.get(key)},
        "config": {key: settings[key] for key in _SETTINGS if settings.get(key)},
        "created": created,
        "history": [_step(each, created) for each in config.get("history") or []],
        "rootfs": {"type": "layers", "diff_ids": list(digests)},
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _step(step: Mapping[str, Any], created: str) -> dict[str, Any]:
    # No comment: engines put their own names there.
    kept: dict[str, Any] = {"created": created, "created_by": step.get("created_by", "")}
    if step.get("empty_layer"):
        kept["empty_layer"] = True
    return kept


def _entry(path: str, member: tarfile.TarInfo) -> NormalEntry:
    header = tarfile.TarInfo(path or "./")
    if is_removal(path):
        # Only its path matters. Engines set its time to that of the build.
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
