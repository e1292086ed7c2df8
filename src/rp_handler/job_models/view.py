"""The models folder in which an engine finds the models of the running job, and no others.

The engine remembers which files a folder had as long as the folder's time stays the same, and reads
that time again for every prompt. It fails for a remembered folder that is gone, unless a folder
above it has changed. So the folders that the engine knows are never removed, and their times change
with every change below them.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

# More than the precision with which the engine compares times.
_STEP_NS = 1_000_000


class ModelView:
    """The folder `root`, with the folders `directories` of the engine below it, which are paths
    relative to a models folder.
    """

    def __init__(self, root: Path, directories: Iterable[str]) -> None:
        self.root = root
        self._directories = {PurePosixPath(one) for one in directories}
        self._kept = {root / place for one in self._directories for place in (one, *one.parents)}
        self._shown: Mapping[str, Path] = {}
        self._stamp_ns = 0
        for directory in self._directories:
            (root / directory).mkdir(parents=True, exist_ok=True)

    def show(self, files: Mapping[str, Path]) -> None:
        """Changes the folder to have a link to each file at its path, and nothing else. What nodes
        wrote there is removed. Raises OSError.
        """
        if not files and not self._shown:
            return
        before = self._shown
        # What cannot be cleared now has to be before the next job.
        self._shown = {**before, **files}
        self._clear(self.root)
        for path, file in files.items():
            place = self.root / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(file.absolute())
        self._shown = dict(files)
        self._stamp(path for path in {**before, **files} if before.get(path) != files.get(path))

    def _clear(self, folder: Path) -> None:
        for path in folder.iterdir():
            if path in self._kept:
                self._clear(path)
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _stamp(self, changed: Iterable[str]) -> None:
        above = {parent for path in changed for parent in PurePosixPath(path).parents}
        self._stamp_ns = max(time.time_ns(), self._stamp_ns + _STEP_NS)
        for directory in self._directories & above:
            os.utime(self.root / directory, ns=(self._stamp_ns, self._stamp_ns))
