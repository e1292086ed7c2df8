"""`gc`: takes out of the cache what no lock and no realized version needs.

What goes is first renamed into `tmp/`, while nobody else uses the cache, and deleted afterwards:
killed at any moment, it leaves nothing half removed under a final name.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comfy_errors import UnavailableError
from comfy_files.disk import PERMISSIONS, disk_errors
from comfy_files.progress import Say, say_nothing
from comfy_models.store import ModelStore
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.roots import Root, forget_root, read_roots, save_root
from runpod_comfy.cache.use import alone
from runpod_comfy.sources.git.process import GitFailedError, run_git
from runpod_comfy.upkeep.freed import Freed
from runpod_comfy.upkeep.needs import needs_of
from runpod_comfy.upkeep.root_locks import RootLocks, look_at_roots
from runpod_comfy.upkeep.unused import Found, Unused, UnusedCommits, find_unused


@dataclass(frozen=True, kw_only=True)
class RemovedEntry:
    """`freed_bytes` counts what no home and no other entry shares."""

    kind: str
    path: Path
    freed_bytes: int


@dataclass(frozen=True, kw_only=True)
class Clearing:
    """What `gc` did or, with `dry_run`, would do.

    `commits` counts git commits taken out of repositories that stay. `dropped` are roots that have
    been gone for long enough, `unknown` paths that were left alone, `remarks` is for people.
    """

    removed: tuple[RemovedEntry, ...]
    commits: int
    roots: tuple[Root, ...]
    dropped: tuple[Root, ...]
    unknown: tuple[Path, ...]
    remarks: tuple[str, ...]
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
    """Removes what no root needs; with `dry_run` looks and touches nothing.

    `models` decides whether the model store is cleared as well; None means if it lies below the
    cache's root: one elsewhere may be shared with machines whose locks are not known here.
    Waits for commands that use the cache. Raises UnavailableError for a cache that has no roots
    recorded, InvalidInputError for a root that cannot be read, OperationFailedError if something
    cannot be removed.
    """
    if not cache.root.is_dir():
        return _nothing(dry_run)
    now = int(time.time()) if now is None else now
    if dry_run:
        locks, found = _look(cache, models, now)
        return _clearing(found, locks, _skipped_models(cache, models), dry_run=True)
    with alone(cache, say):
        locks, found = _look(cache, models, now)
        with cache.writing():
            for root in locks.roots:
                save_root(cache, root)
        for root in locks.dropped:
            forget_root(cache, root.path)
        clearing = _clearing(found, locks, _skipped_models(cache, models), dry_run=False)
        with _disk_errors(cache):
            trash = _move_away(found.entries, cache)
        for each in found.commits:
            _forget_commits(each)
    with _disk_errors(cache):
        for folder in trash:
            shutil.rmtree(folder, onerror=_unless_gone)
    return clearing


def _look(cache: Cache, models: bool | None, now: int) -> tuple[RootLocks, Found]:
    if not cache.roots.is_dir() and _holds_something(cache):
        raise UnavailableError(
            f"the cache {cache.root} has no record of what it is kept for: nothing was removed",
            remedy="Run realize once for every version that you keep, then this again; "
            "or delete the whole folder.",
        )
    locks = look_at_roots(read_roots(cache), now=now)
    with_models = cache.models.is_relative_to(cache.root) if models is None else models
    needs = needs_of(locks.locks, cache)
    found = find_unused(cache, needs, model_folders=locks.model_folders, with_models=with_models)
    return locks, found


def _holds_something(cache: Cache) -> bool:
    folders = (cache.environments, cache.trees, cache.archives, cache.git, cache.uv, cache.models)
    return any(folder.is_dir() for folder in folders)


def _skipped_models(cache: Cache, models: bool | None) -> tuple[str, ...]:
    if models is not None or cache.models.is_relative_to(cache.root) or not cache.models.is_dir():
        return ()
    return (
        f"the models in {cache.models} were left alone: other machines may use them; "
        "--models clears them as well",
    )


def _clearing(
    found: Found, locks: RootLocks, remarks: tuple[str, ...], *, dry_run: bool
) -> Clearing:
    freed = Freed()
    return Clearing(
        removed=tuple(
            RemovedEntry(
                kind=entry.kind, path=entry.path, freed_bytes=freed.by_removing(entry.path)
            )
            for entry in found.entries
        ),
        commits=sum(len(each.commits) for each in found.commits),
        roots=locks.roots,
        dropped=locks.dropped,
        unknown=found.unknown,
        remarks=(*locks.remarks, *remarks),
        dry_run=dry_run,
    )


def _nothing(dry_run: bool) -> Clearing:
    return Clearing(
        removed=(), commits=0, roots=(), dropped=(), unknown=(), remarks=(), dry_run=dry_run
    )


def _move_away(entries: Sequence[Unused], cache: Cache) -> list[Path]:
    """Renames every entry into a folder to delete; gives these folders, one on each volume."""
    store = ModelStore(cache.models)
    trash: dict[Path, Path] = {}
    for number, entry in enumerate(entries):
        in_store = entry.path.is_relative_to(store.root)
        workplace = store.root / "tmp" if in_store else cache.tmp
        if workplace not in trash:
            workplace.mkdir(parents=True, exist_ok=True)
            trash[workplace] = Path(tempfile.mkdtemp(dir=workplace, prefix="gc-"))
        with contextlib.suppress(FileNotFoundError):
            # One that another machine removed first, or that went with its folder.
            entry.path.rename(trash[workplace] / str(number))
    return list(trash.values())


def _forget_commits(unused: UnusedCommits) -> None:
    """What git cannot do now, it can the next time: nothing depends on it."""
    with contextlib.suppress(GitFailedError):
        for commit in unused.commits:
            run_git(["update-ref", "-d", f"refs/kept/{commit}"], repository=unused.repository)
        run_git(["gc", "--quiet", "--prune=now"], repository=unused.repository)


def _unless_gone(
    _function: object, _path: str, error: tuple[object, BaseException, object]
) -> None:
    """Another `gc` may be deleting the same leftovers."""
    if not isinstance(error[1], FileNotFoundError):
        raise error[1]


def _disk_errors(cache: Cache) -> contextlib.AbstractContextManager[None]:
    return disk_errors(
        f"not everything in the cache {cache.root} could be removed", remedy=PERMISSIONS
    )
