"""Whether a file is the model that is needed: its size, and its sha256 where nothing vouches.

What was hashed is remembered, so that the same gigabytes are not read at each start.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from comfy_files.files import replace_file, sha256_of
from comfy_models.store import ModelFile, names_stored

MEMORY_NAME = ".comfy_verified.json"


def holds_model(path: Path, model: ModelFile) -> bool:
    """Whether `path`, or what it links to, is `model`."""
    return fault_of(path, model, HashMemory(())) is None


def fault_of(
    path: Path, model: ModelFile, memory: HashMemory, *, always_hash: bool = False
) -> str | None:
    """What keeps `path` from being `model`, in words that follow the path; None if nothing does.

    The bytes are read unless the size is wrong, the file lies in a store under its sha256, or
    `memory` knows it; with `always_hash` in the last two cases too. Raises KeyboardInterrupt in a
    thread whose work was given up meanwhile.
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
    return None if sha256 == model.sha256 else f"has the sha256 {sha256}, not {model.sha256}"


def _absence(path: Path) -> str:
    if path.is_symlink():
        return f"leads to {os.readlink(path)}, which is not there"  # noqa: PTH115
    return "is not a file" if path.exists() else "is not there"


class HashMemory:
    """The sha256 of files, by device, inode, size and times: a changed file is not known.

    It is read from every one of `files` that there is, and kept in the first that can be written.
    Several processes may do so at once: what one of them loses is only hashed once more.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self._known: dict[str, str] = {}
        self._new: dict[str, str] = {}
        for file in files:
            self._known.update(_read(file))

    def recall(self, path: Path) -> str | None:
        """What the file had when it was read, None if it was not read or has changed since."""
        return self._known.get(_identity(path))

    def remember(self, path: Path, sha256: str) -> None:
        self._new[_identity(path)] = self._known[_identity(path)] = sha256

    def save(self) -> None:
        """Keeps what is new. Not being able to is no error: it costs time at the next start."""
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
