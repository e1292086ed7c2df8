"""How much room a removal gives back, where files are shared by hard links."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from pathlib import Path


class Freed:
    """Counts inodes: a file's room is free when the last of its links goes.

    Ask for several removals in their order: a file shared by two of them counts for the later one.
    """

    def __init__(self) -> None:
        self._links_seen: Counter[tuple[int, int]] = Counter()

    def by_removing(self, path: Path) -> int:
        """Bytes on the disk that go with `path`. Links are not followed."""
        # A look takes no lock: what commands at work take away meanwhile does not count.
        total = 0
        with contextlib.suppress(FileNotFoundError):
            total += self._count(path.lstat())
            if path.is_dir() and not path.is_symlink():
                total += self._below(str(path))
        return total

    def _below(self, folder: str) -> int:
        total = 0
        with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    total += self._count(entry.stat(follow_symlinks=False))
                    if entry.is_dir(follow_symlinks=False):
                        total += self._below(entry.path)
        return total

    def _count(self, status: os.stat_result) -> int:
        on_disk = status.st_blocks * 512
        # A folder's links are its subfolders.
        if status.st_nlink == 1 or (status.st_mode & 0o170000) == 0o040000:
            return on_disk
        inode = (status.st_dev, status.st_ino)
        self._links_seen[inode] += 1
        return on_disk if self._links_seen[inode] == status.st_nlink else 0
