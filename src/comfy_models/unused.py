"""What a store no longer needs: models, and what killed transfers left. Read-only."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from comfy_files.files import children, is_locked
from comfy_models.store import (
    LEARNT,
    LEASE,
    MEMORY_NAME,
    OF_JOBS,
    PARTIAL,
    PARTS,
    ModelStore,
    names_stored,
)
from comfy_models.transfer.lease import owner_is_gone
from comfy_models.unsynced import UNSYNCED

_OF_TRANSFERS = (PARTIAL, PARTS, LEASE)
_RESUMED = (*_OF_TRANSFERS, LEARNT)
# An owner on another machine writes to its lease every few seconds. Clocks may differ.
_LEASE_ENDS_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class UnusedModels:
    """`files` of models that are not needed, `leftovers` of killed processes, and `unknown` paths
    that no store writes.
    """

    files: tuple[Path, ...]
    leftovers: tuple[Path, ...]
    unknown: tuple[Path, ...]


def unused_models(store: ModelStore, needed: set[str]) -> UnusedModels:
    """What is unused if `needed` are the sha256 (64 hex digits) to keep, and the keys of downloads
    whose sha256 is not known yet. Removes nothing.
    """
    files: list[Path] = []
    leftovers = [path for path in _leftovers(store) if not is_resumed(path, needed)]
    unknown = []
    for path in children(store.root):
        if path.name.startswith(f".{MEMORY_NAME}.partial"):
            leftovers.append(path)
        elif path.name not in ("sha256", "tmp", OF_JOBS, MEMORY_NAME):
            unknown.append(path)
    for file in (file for it in children(store.root / "sha256") for file in children(it)):
        if names_stored(str(file)) is None:
            unknown.append(file)
        elif file.name not in needed:
            files.append(file)
    return UnusedModels(files=tuple(files), leftovers=tuple(leftovers), unknown=tuple(unknown))


def is_resumed(leftover: Path, needed: set[str]) -> bool:
    """True if the next download of a needed model continues with this file in `tmp`."""
    return leftover.suffix in _RESUMED and leftover.stem in needed


def _leftovers(store: ModelStore) -> Iterator[Path]:
    folder = store.root / "tmp"
    for path in children(folder):
        if path.suffix in _OF_TRANSFERS and not path.is_dir():
            # It may have just got its final name.
            if not _is_written(folder / path.stem) and path.exists():
                yield path
        elif path.suffix != UNSYNCED or not store.path_of(path.stem).is_file():
            # Only a folder that `gc` itself deletes, or what an earlier release wrote.
            yield path


def _is_written(key: Path) -> bool:
    """True if a process writes the file whose names in `tmp` begin with `key`: it holds the lock of
    the file until it is done, or, on another machine, a lease.
    """
    try:
        if is_locked(key.with_name(f"{key.name}{PARTIAL}")):
            return True
    except FileNotFoundError:
        pass
    lease = key.with_name(f"{key.name}{LEASE}")
    try:
        is_recent = time.time() - lease.stat().st_mtime < _LEASE_ENDS_S
        return is_recent and not owner_is_gone(lease.read_bytes()[:1024])
    except FileNotFoundError:
        return False
