"""The folder that a benchmark works in: everything in it goes when the benchmark ends."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from comfy_errors import OperationFailedError


@dataclass(kw_only=True)
class Scratch:
    """Numbered folders below one root. `peak_bytes` is the most that was seen in use."""

    root: Path
    free_at_first: int
    peak_bytes: int = 0
    _count: int = field(default=0, repr=False)

    def new(self, name: str) -> Path:
        """A folder that does not exist yet; its parent does."""
        self._count += 1
        return self.root / f"{self._count}-{name}"

    def drop(self, *folders: Path) -> None:
        self.look()
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)

    def look(self) -> None:
        """Notes how full the disk is at the moment."""
        used = self.free_at_first - shutil.disk_usage(self.root).free
        self.peak_bytes = max(self.peak_bytes, used)

    def settle(self) -> None:
        """Waits for the disk, so that nothing is timed while it writes what another one left."""
        self.look()
        os.sync()


@contextmanager
def scratch(place: Path, *, needed_bytes: int) -> Iterator[Scratch]:
    """A scratch below `place`, for one benchmark at a time. What a killed one left is removed.

    Raises OperationFailedError if another one is at work there, or if there is too little room.
    """
    place.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(place / "lock", timeout=0):
            root = place / "work"
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
            try:
                free = shutil.disk_usage(root).free
                if free < needed_bytes:
                    raise OperationFailedError(
                        f"{place} has {free / 1e9:.0f} GB of free room, and the benchmarks need "
                        f"{needed_bytes / 1e9:.0f} GB",
                        remedy="Make room there, or name another folder with --folder.",
                    )
                yield Scratch(root=root, free_at_first=free)
            finally:
                shutil.rmtree(root, ignore_errors=True)
    except Timeout as error:
        raise OperationFailedError(
            f"another benchmark is at work in {place}",
            remedy="Wait for its end: two at once would measure each other.",
        ) from error
