"""Checks that a file is the model that is needed: its size, and its sha256 unless already known.

Hashes are remembered, so that gigabytes are not read at every start.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from comfy_files.files import replace_file, sha256_of
from comfy_models.model_file import ModelFile
from comfy_models.store import names_stored

MEMORY_NAME = ".comfy_verified.json"


def holds_model(path: Path, model: ModelFile) -> bool:
    """True if `path`, or the file it links to, is `model`."""
    return fault_of(path, model, HashMemory(())) is None


def fault_of(
    path: Path, model: ModelFile, memory: HashMemory, *, always_hash: bool = False
) -> str | None:
    """Why `path` is not `model`, as the end of a sentence that starts with the path; None if it is.

    The file is hashed unless its size is wrong, it is in a store under its sha256, or `memory`
    knows it; with `always_hash` also in the last two cases. Raises KeyboardInterrupt if this
    thread's work is cancelled.
    """
    try:
        if not path.is_file():
            return _absence(path)
        size_bytes = path.stat().st_size
        if size_bytes != model.size:
            return f"has {size_bytes} bytes, not {model.size}"
        sha256 = names_stored(os.path.realpath(path)) or memory.recall(path)
        if sha256 is None or always_hash:
            sha256 = sha256_of(path)
            memory.remember(path, sha256)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if sha256 == model.sha256 else f"has sha256 {sha256}, not {model.sha256}"


def _absence(path: Path) -> str:
    if path.is_symlink():
        return f"links to {os.readlink(path)}, which does not exist"  # noqa: PTH115
    return "is not a file" if path.exists() else "does not exist"


class HashMemory:
    """The sha256 of files, by device, inode, size and times, so that a changed file is hashed
    again.

    Read from every one of `files` that exists, and saved in the first that is writable.
    Several processes may do so at once: an entry that gets lost is just hashed again.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._known: dict[str, str] = {}
        self._new: dict[str, str] = {}
        for file in files:
            self._known.update(_read(file))

    def recall(self, path: Path) -> str | None:
        """The remembered sha256 of the file, None if it was never hashed or has changed since."""
        return self._known.get(_identity(path))

    def remember(self, path: Path, sha256: str) -> None:
        self._new[_identity(path)] = self._known[_identity(path)] = sha256

    def save(self) -> None:
        """Saves new hashes. Failing to is not an error: it costs time at the next start."""
        if not self._new:
            return
        replaced = {_inode(identity) for identity in self._new}
        for file in self._files:
            earlier = {
                identity: sha256
                for identity, sha256 in _read(file).items()
                if _inode(identity) not in replaced
            }
            text = json.dumps({"files": {**earlier, **self._new}}, indent=1, sort_keys=True)
            with contextlib.suppress(OSError):
                replace_file(file, f"{text}\n".encode())
                return


def _identity(path: Path) -> str:
    status = path.stat()
    times = f"{status.st_mtime_ns}:{status.st_ctime_ns}"
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{times}"


def _inode(identity: str) -> tuple[str, ...]:
    return tuple(identity.split(":")[:2])


def _read(file: Path) -> dict[str, str]:
    try:
        known = json.loads(file.read_text(encoding="utf-8"))["files"]
        return {str(identity): str(sha256) for identity, sha256 in known.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
