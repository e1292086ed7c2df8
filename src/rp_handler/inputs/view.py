"""The input folder of one engine, in which each job finds its own files under their own names.

An engine has one input folder for all jobs, and nodes list it, or look for a name below it. So the
folder itself changes between jobs: it has links to the version's own input files, and for the
time of a job the job's files.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path


class InputView:
    """The folder `root`, made of the files in `shared`, which may not exist, and those of a job."""

    def __init__(self, root: Path, shared: Path) -> None:
        self.root, self._shared = root, shared
        self.root.mkdir(parents=True, exist_ok=True)
        self.show(None)

    def show(self, own: Path | None) -> None:
        """Changes the folder to have the files of a job in the folder `own`, which are moved.

        They take precedence over the shared ones. What nodes wrote there is removed. Raises
        OSError.
        """
        mine, shared = _entries(own), _entries(self._shared)
        for path in self.root.iterdir():
            if not path.is_symlink() and path.is_dir():
                shutil.rmtree(path)
            elif path.name in mine or not _is_link_to(path, shared.get(path.name)):
                path.unlink()
        _lay(mine, shared, self.root)


def _lay(mine: Mapping[str, Path], shared: Mapping[str, Path], target: Path) -> None:
    for name, path in shared.items():
        place = target / name
        if name not in mine and not place.is_symlink():
            place.symlink_to(path)
    for name, path in mine.items():
        if path.is_dir():
            (target / name).mkdir()
            _lay(_entries(path), _entries(shared.get(name)), target / name)
        else:
            shutil.move(path, target / name)


def _entries(folder: Path | None) -> dict[str, Path]:
    """What is in a folder, by name; nothing if it is none."""
    if folder is None or not folder.is_dir():
        return {}
    return {path.name: path.absolute() for path in folder.iterdir()}


def _is_link_to(path: Path, target: Path | None) -> bool:
    return path.is_symlink() and path.readlink() == target
