"""sha256, the identity of content: of texts, of files, of bytes on their way to a disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO


def digest_of(content: bytes) -> str:
    """`sha256:` and 64 hex digits."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def sha256_of(path: Path) -> str:
    """The sha256 of a file's bytes, as 64 hex digits. Raises OSError."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_hashed(chunks: Iterable[bytes], target: BinaryIO) -> tuple[str, int]:
    """Writes all chunks to `target` and flushes it: their sha256 as 64 hex digits, their bytes."""
    digest = hashlib.sha256()
    size_bytes = 0
    for chunk in chunks:
        digest.update(chunk)
        target.write(chunk)
        size_bytes += len(chunk)
    target.flush()
    return digest.hexdigest(), size_bytes
