"""Model files by content: `<root>/sha256/ab/abcd…`. A stored file is whole and never changes."""

from __future__ import annotations

import os
import re
from pathlib import Path

from comfy_models.unsynced import UNSYNCED, may_be_lost, settle

PARTIAL, PARTS, LEASE, LEARNT = ".partial", ".parts", ".lease", ".learnt"
"""The ends of names in `tmp`: of a file's bytes so far, which they are, who writes them, and what
their sha256 was in the end.
"""

OF_JOBS = "jobs"
"""Below a store: another one, of the models that jobs of a worker bring along."""

MEMORY_NAME = ".comfy_verified"
"""At the top of a store or a models folder: the remembered hashes of the files below it."""

_STORED = re.compile(r"(?:^|/)sha256/([0-9a-f]{2})/(\1[0-9a-f]{62})$")


class ModelStore:
    """A folder of model files named by their sha256. Several processes may use it at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path_of(self, sha256: str) -> Path:
        """The path of the file with this sha256 (64 hex digits), stored or not."""
        return self.root / "sha256" / sha256[:2] / sha256

    def mark_of(self, sha256: str) -> Path:
        """The path of the mark of a file that the disk may not have written yet."""
        return self.root / "tmp" / f"{sha256}{UNSYNCED}"

    def holds(self, sha256: str) -> bool:
        return self.path_of(sha256).is_file() and not may_be_lost(self.mark_of(sha256))

    def names(self) -> set[str]:
        """The sha256 of the stored files."""
        return {path.name for path in (self.root / "sha256").glob("*/*")}

    def doubtful(self) -> set[str]:
        """The sha256 of stored files that have to be hashed: the disk may not have all of them."""
        marks = (self.root / "tmp").glob(f"*{UNSYNCED}")
        return {mark.name.removesuffix(UNSYNCED) for mark in marks if may_be_lost(mark)}

    def settle(self) -> None:
        """Removes the marks of files that the disk has written by now."""
        for mark in (self.root / "tmp").glob(f"*{UNSYNCED}"):
            settle(mark, self.path_of(mark.name.removesuffix(UNSYNCED)))


def names_stored(path: str) -> str | None:
    """The sha256 in the path of a file in any store, None for any other path."""
    match = _STORED.search(path)
    return match.group(2) if match else None


def linked_models(folder: Path) -> set[str]:
    """The sha256 of the models that links below `folder` lead to, in whichever store."""
    links = (
        path
        for parent, folders, files in os.walk(folder)
        for name in (*folders, *files)
        if (path := Path(parent, name)).is_symlink()
    )
    # The link's own target, and the final target.
    ways = (way for link in links for way in (str(link.readlink()), os.path.realpath(link)))
    return {sha256 for way in ways if (sha256 := names_stored(way)) is not None}
