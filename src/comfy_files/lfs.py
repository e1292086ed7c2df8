"""Git LFS pointers: small files that stand for the real ones, where git-lfs did not fetch them."""

from __future__ import annotations

import re
from dataclasses import dataclass

POINTER_START = b"version https://git-lfs.github.com/spec/"
"""The first bytes of a pointer, as the specification of Git LFS says."""

_OID = re.compile(rb"^oid sha256:([0-9a-f]{64})$", re.MULTILINE)
_SIZE = re.compile(rb"^size ([0-9]{1,18})$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class LfsPointer:
    """The file that a pointer stands for: its sha256 (64 hex digits) and its size in bytes."""

    sha256: str
    size: int


def read_pointer(content: bytes) -> LfsPointer | None:
    """The pointer with this content, None for anything else."""
    oid, size = _OID.search(content), _SIZE.search(content)
    if not content.startswith(POINTER_START) or oid is None or size is None:
        return None
    return LfsPointer(sha256=oid[1].decode(), size=int(size[1]))
