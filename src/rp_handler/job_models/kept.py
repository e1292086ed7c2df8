"""The models of jobs on disk: by their sha256, kept for later jobs as long as there is room.

What was used last is recorded beside them, so that it is known after a restart too. Several workers
may share the folder: a file that one of them uses is locked, and not removed by another.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from comfy_files.files import lock, replace_file
from comfy_files.progress import readable_size
from comfy_models.store import LEARNT, PARTIAL, PARTS, ModelStore
from rp_handler.errors import InputFetchError

_LOCK = ".lock"


@dataclass(frozen=True, kw_only=True)
class HeldModel:
    """A stored file, which no worker removes before it is closed."""

    path: Path
    size_bytes: int
    _file: BinaryIO

    def close(self) -> None:
        self._file.close()


class KeptModels:
    """The models of jobs below `root`, together `limit_bytes` at most."""

    def __init__(self, root: Path, limit_bytes: int) -> None:
        self.store = ModelStore(root)
        self.limit_bytes = limit_bytes
        self._partials = root / "tmp"
        self._records = root / "used"
        self._records.mkdir(parents=True, exist_ok=True)

    def hold(self, sha256: str) -> HeldModel | None:
        """The stored file with this sha256, None if it is not there. Raises OSError."""
        path = self.store.path_of(sha256)
        # Not the lock of the file itself: a process that is to write it waits for that one.
        place = self._records / f"{sha256}{_LOCK}"
        while self.store.holds(sha256):
            file = place.open("ab")
            lock(file.fileno(), shared=True)
            with contextlib.suppress(FileNotFoundError):
                # Another worker may have removed both meanwhile.
                if os.path.samestat(os.fstat(file.fileno()), place.stat()):
                    return HeldModel(path=path, size_bytes=path.stat().st_size, _file=file)
            file.close()
        return None

    def note_use(self, sha256: str, target_path: str) -> None:
        """Records that a stored file is used now, at this path below the models folder."""
        document = json.dumps({"path": target_path, "sha256": sha256})
        replace_file(self._record(sha256), f"{document}\n".encode())

    def listing(self) -> list[dict[str, Any]]:
        """The `path` at which each stored file was used last, and its `sha256`."""
        found = []
        for record in self._records.glob("*.json"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                document = json.loads(record.read_bytes())
                path, sha256 = str(document["path"]), str(document["sha256"])
                if sha256 == record.stem and self.store.holds(sha256):
                    found.append({"path": path, "sha256": sha256})
        return sorted(found, key=lambda one: (one["path"], one["sha256"]))

    def make_room(self, size_bytes: int, *, keep: Iterable[str]) -> None:
        """Removes what was used least recently, until there is room for so many bytes more.

        Kept are the files whose sha256, and the interrupted downloads whose key, is in `keep`, and
        what other workers use. Raises InputFetchError if that leaves too little.
        """
        used_bytes = sum(room_bytes for _, room_bytes, _ in self._entries(set()))
        free_bytes = shutil.disk_usage(self.store.root).free
        excess = used_bytes + size_bytes - min(self.limit_bytes, used_bytes + free_bytes)
        for _, room_bytes, path in sorted(self._entries(set(keep))):
            if excess <= 0:
                return
            if self._remove(path):
                excess -= room_bytes
        if excess > 0:
            raise InputFetchError(
                f"The job's models need {readable_size(size_bytes)} more below {self.store.root}, "
                f"which is {readable_size(excess)} more than there is room for.",
                remedy="Give the worker a larger disk, or run fewer workers on one folder.",
                details={},
                retryable=True,
            )

    def _record(self, sha256: str) -> Path:
        return self._records / f"{sha256}.json"

    def _entries(self, keep: set[str]) -> Iterator[tuple[int, int, Path]]:
        """When each stored file, and the bytes of each interrupted download, were used last, in
        nanoseconds; their room on disk in bytes; and where they are.
        """
        for path in [*self.store.root.glob("sha256/*/*"), *self._partials.glob(f"*{PARTIAL}")]:
            if path.stem not in keep:
                # It may be gone by now.
                with contextlib.suppress(OSError):
                    status = path.stat()
                    room_bytes = min(status.st_size, status.st_blocks * 512)
                    used_ns = self._used_ns(path.stem, otherwise=status.st_mtime_ns)
                    yield used_ns, room_bytes, path

    def _used_ns(self, sha256: str, *, otherwise: int) -> int:
        try:
            return self._record(sha256).stat().st_mtime_ns
        except FileNotFoundError:
            return otherwise

    def _remove(self, path: Path) -> bool:
        """Removes a stored file, or an interrupted download; False if it is in use or gone."""
        is_partial = path.suffix == PARTIAL
        place = path if is_partial else self._records / f"{path.name}{_LOCK}"
        try:
            with place.open("ab") as file:
                if not _locks(file):
                    return False
                path.unlink()
                if is_partial:
                    path.with_suffix(PARTS).unlink(missing_ok=True)
                else:
                    self._forget(path.name)
                    place.unlink()
        except OSError:
            return False
        return True

    def _forget(self, sha256: str) -> None:
        self._record(sha256).unlink(missing_ok=True)
        self.store.mark_of(sha256).unlink(missing_ok=True)
        for learnt in self._partials.glob(f"*{LEARNT}"):
            with contextlib.suppress(OSError):
                if sha256 in learnt.read_text(encoding="ascii", errors="replace"):
                    learnt.unlink()


def _locks(file: BinaryIO) -> bool:
    """False if another process or job has locked the file. Some file systems have no locks."""
    with contextlib.suppress(OSError):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
