"""The format of a bundle: a tar file whose every byte follows from its table of contents.

`bundle.json` comes first and names each entry with its size and sha256. Nothing else of a tar file
is used: headers carry a name and a size, the rest of them is always the same, so that a reader can
demand them byte by byte and has no hostile ones to understand.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from comfy_files.hashing import digest_of

BUNDLE_VERSION = 1
BLOCK_BYTES = 512
END = bytes(2 * BLOCK_BYTES)
"""What ends a tar file (POSIX.1-1988)."""

CONTENTS = "bundle.json"
LOCK = "lock.json"
SPEC = "spec.json"

_NAME_BYTES = 100
_OCTAL_SIZE_LIMIT = 8**11


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)


class Entry(_Strict):
    """One file of the bundle. `size` is in bytes, `sha256` 64 hex digits."""

    path: str
    size: int
    sha256: str


class BundledTree(_Strict):
    """A tree of the lock, and the entry that holds its files, as a tar file.

    `epoch` is the newest time in it, in seconds since 1970, which a lock has only for all trees.
    """

    repo: str
    commit: str
    subdir: str | None = None
    epoch: int
    entry: str


class Contents(_Strict):
    """The table of contents. `digest` is `sha256:…` over all the rest of it."""

    bundle_version: int
    version_id: str
    lock_digest: str
    platform: str
    models: bool
    trees: list[BundledTree]
    entries: list[Entry]
    digest: str

    def to_bytes(self) -> bytes:
        return _canonical(self.model_dump(mode="json", exclude_defaults=True))


@dataclass(frozen=True, kw_only=True)
class BundleSummary:
    """What a bundle holds: counts, and bytes in all. `sources` are sdists, which have to be built
    where they are installed."""

    version_id: str
    lock_digest: str
    platform: str
    trees: int
    wheels: int
    models: int
    sources: tuple[str, ...]
    size_bytes: int

    def document(self) -> dict[str, Any]:
        """The summary as JSON."""
        return {**vars(self), "sources": list(self.sources)}


def make_contents(**parts: Any) -> Contents:
    """The contents with their digest."""
    open_contents = Contents(bundle_version=BUNDLE_VERSION, digest="", **parts)
    return open_contents.model_copy(update={"digest": contents_digest(open_contents)})


def contents_digest(contents: Contents) -> str:
    """What `digest` has to be."""
    document = contents.model_dump(mode="json", exclude_defaults=True)
    del document["digest"]
    return digest_of(_canonical(document))


def header(path: str, size_bytes: int) -> bytes:
    """The tar header of an entry: a plain file of mode 644, of nobody, from 1970."""
    name = path.encode("ascii")
    if len(name) > _NAME_BYTES:
        raise ValueError(f"{path} is too long for an entry")
    fields = [
        name.ljust(_NAME_BYTES, b"\0"),
        b"0000644\0",
        b"0000000\0",
        b"0000000\0",
        _size_field(size_bytes),
        b"00000000000\0",
        b" " * 8,
        b"0",
        bytes(100),
        b"ustar\00000",
        bytes(32 + 32),
        b"0000000\0" * 2,
        bytes(155 + 12),
    ]
    block = b"".join(fields)
    checksum = b"%06o\0 " % sum(block)
    return block[:148] + checksum + block[156:]


def padding(size_bytes: int) -> bytes:
    """The zeros after an entry's bytes."""
    return bytes(-size_bytes % BLOCK_BYTES)


def span(size_bytes: int) -> int:
    """How many bytes of a bundle an entry takes."""
    return BLOCK_BYTES + size_bytes + len(padding(size_bytes))


def size_in_header(block: bytes) -> int:
    """The size that a header tells; -1 if it tells none."""
    field = block[124:136]
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    try:
        return int(field.rstrip(b"\0"), 8)
    except ValueError:
        return -1


def _size_field(size_bytes: int) -> bytes:
    if size_bytes < _OCTAL_SIZE_LIMIT:
        return b"%011o\0" % size_bytes
    # As GNU tar and all after it write a size above 8 GiB.
    return b"\x80" + size_bytes.to_bytes(11, "big")


def _canonical(document: dict[str, Any]) -> bytes:
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False)
    return (text + "\n").encode("utf-8", "surrogatepass")
