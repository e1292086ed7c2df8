"""What is remembered of hashed files, so that the same gigabytes are not read at each start."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

from comfy_files.atomic import replace_file

MEMORY_NAME = ".comfy_verified.json"


class HashMemory:
    """The sha256 of files, by device, inode, size and times: a changed file is a stranger.

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
        """What the file had when it was read, None if this was another file or nobody did."""
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
    parts = (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
    return ":".join(map(str, parts))


def _inode(identity: str) -> tuple[str, ...]:
    return tuple(identity.split(":")[:2])


def _read(file: Path) -> dict[str, str]:
    try:
        known = json.loads(file.read_text(encoding="utf-8"))["files"]
        return {str(identity): str(sha256) for identity, sha256 in known.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
