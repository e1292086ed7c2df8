"""`gc`: removes from the cache what no lock and no realized version needs.

Entries are first renamed into `tmp/`, while no other command uses the cache, and deleted
afterwards: if killed at any moment, it leaves nothing half removed under a final name. It also
says how much each lock, home and models folder keeps: why it frees no more.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache as remembered
from pathlib import Path

from comfy_errors import InvalidInputError, UnavailableError
from comfy_files.files import PERMISSIONS, disk_errors
from comfy_files.progress import Say, say_nothing, when_slow
from comfy_files.read_only import remove_tree
from comfy_models.store import ModelStore
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.roots import Root, forget_root, read_roots, save_root
from runpod_comfy.sources.git.repository import KEPT, GitFailedError, run_git
from runpod_comfy.upkeep.needs import Needs, lock_of, look_at_roots, model_folder_of, needs_of
from runpod_comfy.upkeep.unused import Contents, Unused, find_unused, unused_commits

_OF_NO_ROOT = ("leftover", "image tool", "unknown")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """`size_bytes` on the disk are kept for `root`; what several roots need counts for each."""

    root: Root
    size_bytes: int


def _kept_by_roots(roots: Sequence[Root], contents: Contents, *, with_models: bool) -> list[Kept]:
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
    return {(it.st_dev, it.st_ino): it.st_blocks * 512 for it in _statuses(str(path))}


def _statuses(path: str) -> Iterator[os.stat_result]:
    """The status of a path, then of everything below it, without following symbolic links. What
    commands at work take away meanwhile is left out.
    """
    with contextlib.suppress(FileNotFoundError):
        status = os.lstat(path)
        yield status
        if stat.S_ISDIR(status.st_mode):
            for name in os.listdir(path):  # noqa: PTH208
                yield from _statuses(f"{path}/{name}")


@dataclass(frozen=True, kw_only=True)
class Clearing:
    """What `gc` did or, with `dry_run`, would do.

    `commits` counts git commits removed from repositories that are kept. `dropped` are roots that
    have been gone for long enough, `unknown` paths that were left alone, `remarks` messages for the
    user. `kept` says how much of the cache each root keeps.
    """

    removed: tuple[Unused, ...] = ()
    commits: int = 0
    roots: tuple[Root, ...] = ()
    dropped: tuple[Root, ...] = ()
    unknown: tuple[Path, ...] = ()
    remarks: tuple[str, ...] = ()
    kept: tuple[Kept, ...] = ()
    dry_run: bool

    @property
    def freed_bytes(self) -> int:
        return sum(entry.freed_bytes for entry in self.removed)


def clear_cache(
    cache: Cache,
    *,
    dry_run: bool = False,
    models: bool | None = None,
    now: int | None = None,
    say: Say = say_nothing,
) -> Clearing:
    """Removes what no root needs; with `dry_run` only reports it.

    `models` says whether to clear the model store too. None means only if it is below the cache's
    root: a store elsewhere may be shared with machines whose locks are not known here. Waits for
    commands that use the cache. Raises UnavailableError if the cache has no recorded roots,
    InvalidInputError if it is a file or a root cannot be read, OperationFailedError if something
    cannot be removed.
    """
    if not cache.root.exists():
        return Clearing(dry_run=dry_run)
    if not cache.root.is_dir():
        raise InvalidInputError(
            f"the cache {cache.root} is not a folder", remedy="Set COMFY_CACHE_ROOT to a folder."
        )
    now = int(time.time()) if now is None else now
    looking = when_slow(say, f"Looking through the cache {cache.root}")
    contents = Contents(cache)
    if dry_run:
        with looking:
            return _with_kept(_look(contents, models, now)[0], contents, models)
    refused = f"not everything in the cache {cache.root} could be removed"
    with cache.alone(say):
        with looking:
            clearing, commits = _look(contents, models, now)
        with cache.writing():
            for root in clearing.roots:
                save_root(cache, root)
        for root in clearing.dropped:
            forget_root(cache, root.path)
        with disk_errors(refused, remedy=PERMISSIONS):
            trash = _move_away(clearing.removed, cache)
        with when_slow(say, "Packing the git repositories"):
            _forget(commits)
    with disk_errors(refused, remedy=PERMISSIONS), when_slow(say, "Deleting what is not needed"):
        for folder in trash:
            remove_tree(folder)
    with when_slow(say, "Measuring what is kept"):
        return replace(_with_kept(clearing, contents, models), dry_run=False)


def _with_kept(clearing: Clearing, contents: Contents, models: bool | None) -> Clearing:
    with_models = _clears_models(contents.cache, models)
    kept = _kept_by_roots(clearing.roots, contents, with_models=with_models)
    return replace(clearing, kept=tuple(kept))


def _clears_models(cache: Cache, models: bool | None) -> bool:
    return cache.models.is_relative_to(cache.root) if models is None else models


def _look(
    contents: Contents, models: bool | None, now: int
) -> tuple[Clearing, dict[Path, list[str]]]:
    """What would be removed, and the commits among it by repository."""
    cache = contents.cache
    parts = (cache.environments, cache.trees, cache.archives, cache.git, cache.uv, cache.models)
    if not cache.roots.is_dir() and any(part.is_dir() for part in parts):
        raise UnavailableError(
            f"the cache {cache.root} has no record of what needs it: nothing was removed",
            remedy="Run realize once for every version to keep, then run gc again; or delete the "
            "whole folder.",
        )
    kept = look_at_roots(read_roots(cache), now=now)
    with_models = _clears_models(cache, models)
    if models is None and not with_models and cache.models.is_dir():
        kept.remarks.append(
            f"the models in {cache.models} were left alone: other machines may use them; "
            "--models clears them too"
        )
    needs = needs_of(kept.locks, cache)
    found = find_unused(contents, needs, model_folders=kept.model_folders, with_models=with_models)
    commits = unused_commits(cache, needs)
    links_seen: Counter[tuple[int, int]] = Counter()
    clearing = Clearing(
        removed=tuple(
            replace(entry, freed_bytes=_freed_by(entry.path, links_seen))
            for entry in found
            if entry.kind != "unknown"
        ),
        commits=sum(map(len, commits.values())),
        roots=tuple(kept.roots),
        dropped=tuple(kept.dropped),
        unknown=tuple(entry.path for entry in found if entry.kind == "unknown"),
        remarks=tuple(kept.remarks),
        dry_run=True,
    )
    return clearing, commits


def _freed_by(path: Path, links_seen: Counter[tuple[int, int]]) -> int:
    """Bytes on disk that removing `path` frees: a file's space is free once its last link is gone,
    and `links_seen` counts the links removed before.
    """
    on_disk = 0
    for status in _statuses(str(path)):
        inode = (status.st_dev, status.st_ino)
        # A folder's links are its subfolders.
        is_folder = stat.S_ISDIR(status.st_mode)
        links_seen[inode] += not is_folder
        if is_folder or links_seen[inode] == status.st_nlink:
            on_disk += status.st_blocks * 512
    return on_disk


def _move_away(entries: Sequence[Unused], cache: Cache) -> list[Path]:
    """Renames every entry into a folder to delete; returns these folders, one per volume."""
    store = ModelStore(cache.models)
    trash: dict[Path, Path] = {}
    for number, entry in enumerate(entries):
        in_store = entry.path.is_relative_to(store.root)
        workplace = store.root / "tmp" if in_store else cache.tmp
        if workplace not in trash:
            workplace.mkdir(parents=True, exist_ok=True)
            trash[workplace] = Path(tempfile.mkdtemp(dir=workplace, prefix="gc-"))
        with contextlib.suppress(FileNotFoundError):
            # Already removed by another machine, or together with its folder.
            entry.path.rename(trash[workplace] / str(number))
    return list(trash.values())


def _forget(commits: Mapping[Path, Sequence[str]]) -> None:
    """If git fails now, the next gc tries again: nothing depends on it."""
    for repository, unneeded in commits.items():
        with contextlib.suppress(GitFailedError):
            for commit in unneeded:
                run_git(["update-ref", "-d", f"{KEPT}{commit}"], repository=repository)
            run_git(["gc", "--quiet", "--prune=now"], repository=repository)
