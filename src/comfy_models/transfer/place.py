"""Where a model file is written, and where it is once it is whole."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from comfy_models.store import ModelStore

PARTIAL, PARTS, LEASE = ".partial", ".parts", ".lease"
"""The names in a work folder, after the key of the file: its bytes so far, which they are, and who
writes them."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """`final` is the file's own path. `key` begins the names of what exists in `work` while it is
    transferred; `work` is on the same file system.
    """

    final: Path
    work: Path
    key: str
    mode: int = 0o644

    @property
    def partial(self) -> Path:
        return self.work / f"{self.key}{PARTIAL}"

    @property
    def parts(self) -> Path:
        return self.work / f"{self.key}{PARTS}"

    @property
    def lease(self) -> Path:
        return self.work / f"{self.key}{LEASE}"

    def put(self) -> None:
        """Gives the file, which is on disk, its final name."""
        self.partial.chmod(self.mode)
        self.final.parent.mkdir(parents=True, exist_ok=True)
        self.partial.replace(self.final)
        folder = os.open(self.final.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def in_store(store: ModelStore, sha256: str) -> Place:
    # Read-only: homes link to it, and a node may write to what it takes for its own file.
    return Place(final=store.path_of(sha256), work=store.root / "tmp", key=sha256, mode=0o444)


def outside_store(path: Path, sha256: str) -> Place:
    return Place(final=path, work=path.parent, key=f".{sha256}")
