"""Whether a file is the model that is needed: its size, and its sha256 where nobody vouches."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from comfy_models.memory import HashMemory
from comfy_models.search import NeededModel
from comfy_models.store import stored_sha256

_CHUNK_BYTES = 1 << 20


class StoppedError(Exception):
    """Somebody asked to stop before the file was read to its end."""


def fault_of(
    path: Path,
    model: NeededModel,
    memory: HashMemory,
    *,
    always_hash: bool,
    stopped: Callable[[], bool],
) -> str | None:
    """What keeps `path` from being `model`, in words that follow the path; None if nothing does.

    The bytes are read unless the size is wrong, the file lies in a store under its sha256, or
    `memory` knows it; with `always_hash` in the last two cases too. Raises StoppedError.
    """
    try:
        if not path.is_file():
            return _absence(path)
        size_bytes = path.stat().st_size
        if size_bytes != model.size_bytes:
            return f"has {size_bytes} bytes, not {model.size_bytes}"
        sha256 = None if always_hash else stored_sha256(path) or memory.recall(path)
        if sha256 is None:
            sha256 = _read_sha256(path, stopped)
            memory.remember(path, sha256)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if sha256 == model.sha256 else f"has the sha256 {sha256}, not {model.sha256}"


def _absence(path: Path) -> str:
    if path.is_symlink():
        return f"leads to {os.readlink(path)}, which is not there"  # noqa: PTH115
    return "is not a file" if path.exists() else "is not there"


def _read_sha256(path: Path, stopped: Callable[[], bool]) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            if stopped():
                raise StoppedError
            digest.update(chunk)
    return digest.hexdigest()
