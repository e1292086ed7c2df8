"""How much of the cache each lock, home and models folder keeps: why `gc` frees no more."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache as remembered
from pathlib import Path

from runpod_comfy.cache.roots import Root
from runpod_comfy.upkeep.needs import Needs, lock_of, model_folder_of, needs_of
from runpod_comfy.upkeep.unused import Contents, find_unused

_OF_NO_ROOT = ("leftover", "image tool", "unknown")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """`size_bytes` on the disk are kept for `root`; what several roots need counts for each."""

    root: Root
    size_bytes: int


def kept_by_roots(roots: Sequence[Root], contents: Contents, *, with_models: bool) -> list[Kept]:
    """What each root keeps of `contents`, the largest first. Needs no lock: what other commands
    remove meanwhile has no size.
    """

    def unused(needs: Needs, folders: Sequence[Path]) -> set[Path]:
        found = find_unused(contents, needs, model_folders=folders, with_models=with_models)
        return {entry.path for entry in found if entry.kind not in _OF_NO_ROOT}

    # Hard links of one file, say in an environment and in uv's cache, count once.
    sizes = remembered(_sizes)
    everything = unused(Needs(), ())

    def kept(root: Root) -> int:
        needs = needs_of([lock_of(root)] if root.lock is not None else [], contents.cache)
        folder = model_folder_of(root)
        paths = everything - unused(needs, [folder] if folder else [])
        found: dict[tuple[int, int], int] = {}
        for path in paths:
            found.update(sizes(path))
        return sum(found.values())

    found = [Kept(root=root, size_bytes=kept(root)) for root in roots]
    return sorted(found, key=lambda each: (-each.size_bytes, str(each.root.path)))


def _sizes(path: Path) -> dict[tuple[int, int], int]:
    """The bytes on the disk of each file at and below `path`, by device and inode."""
    found: dict[tuple[int, int], int] = {}

    def add(place: str) -> None:
        # Commands at work may take a file away meanwhile.
        with contextlib.suppress(FileNotFoundError):
            status = os.lstat(place)
            found[(status.st_dev, status.st_ino)] = status.st_blocks * 512
            if stat.S_ISDIR(status.st_mode):
                with os.scandir(place) as entries:
                    for entry in entries:
                        add(entry.path)

    add(str(path))
    return found
