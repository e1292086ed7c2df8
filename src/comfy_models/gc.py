"""What of the store nobody needs, and who needs what by a link."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from comfy_files.locks import is_locked
from comfy_models.store import ModelStore, names_stored

_STORED = re.compile(r"^([0-9a-f]{2})[0-9a-f]{62}$")


@dataclass(frozen=True, kw_only=True)
class UnusedModels:
    """`files` of models that nobody needs, `leftovers` of transfers that were killed, and
    `unknown` paths that no store makes."""

    files: tuple[Path, ...]
    leftovers: tuple[Path, ...]
    unknown: tuple[Path, ...]


def unused_models(store: ModelStore, needed: set[str]) -> UnusedModels:
    """Looks through the store; `needed` are the sha256 (64 hex digits) to keep."""
    files: list[Path] = []
    unknown: list[Path] = []
    for path in _children(store.root / "sha256"):
        for file in _children(path):
            match = _STORED.match(file.name)
            if match is None or match.group(1) != path.name:
                unknown.append(file)
            elif file.name not in needed:
                files.append(file)
    for path in _children(store.root):
        if path.name not in ("sha256", "tmp"):
            unknown.append(path)
    return UnusedModels(
        files=tuple(files),
        leftovers=tuple(path for path in _children(store.root / "tmp") if _is_left(path)),
        unknown=tuple(unknown),
    )


def linked_models(folder: Path) -> set[str]:
    """The sha256 of the models that links below `folder` lead to, whichever store they are in."""
    return {sha256 for link in _links(folder) if (sha256 := names_stored(link)) is not None}


def _links(folder: Path) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            if path.is_symlink():
                # Where it says that it leads, and where that leads in the end.
                yield str(path.readlink())
                yield os.path.realpath(path)


def _is_left(path: Path) -> bool:
    """Whether no process is writing this file: each holds its lock for as long as it does."""
    return path.is_dir() or not is_locked(path)


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
