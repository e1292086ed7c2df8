"""Downloaded archives in the cache, named by their sha256 and checked while they arrive."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from comfy_errors import MismatchError
from runpod_comfy.sources.cache import Cache


def find_archive(sha256: str, cache: Cache) -> Path | None:
    """The archive with this hash (64 hex digits), or None."""
    path = cache.archives / sha256
    return path if path.is_file() else None


def keep_archive(
    chunks: Iterable[bytes], cache: Cache, *, where: str, expected_sha256: str | None
) -> tuple[Path, str]:
    """Writes an archive into the cache; returns its path and its sha256.

    `where` names its origin in messages. Raises MismatchError if the bytes are not the expected
    ones: nothing is kept then.
    """
    with cache.writing():
        cache.tmp.mkdir(parents=True, exist_ok=True)
        cache.archives.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=cache.tmp, prefix="archive-")
        try:
            found = _write(handle, chunks)
            if expected_sha256 not in (None, found):
                raise MismatchError(
                    f"{where} arrived with sha256 {found}, but {expected_sha256} was announced",
                    remedy="Try again; if it stays so, the index or a proxy gives other bytes.",
                )
            Path(partial).chmod(0o644)
            path = cache.archives / found
            Path(partial).replace(path)
        finally:
            Path(partial).unlink(missing_ok=True)
    return path, found


def _write(handle: int, chunks: Iterable[bytes]) -> str:
    """The sha256 of what is now on the disk."""
    digest = hashlib.sha256()
    with os.fdopen(handle, "wb") as stream:
        for chunk in chunks:
            digest.update(chunk)
            stream.write(chunk)
        stream.flush()
        os.fsync(stream.fileno())
    return digest.hexdigest()
