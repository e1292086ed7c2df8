"""From a version's id, spec or lock to a lock and the folders it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from comfy_errors import UnavailableError
from runpod_comfy.bundle.places import loaded_spec_path
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.roots import is_recorded, record_root
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.cache.use import using
from runpod_comfy.cli.select.workspace import workspace
from runpod_comfy.cli.show.console import Console
from runpod_comfy.lock.model import Lock
from runpod_comfy.lock.store import find_lock, load_lock, write_lock
from runpod_comfy.spec.digest import spec_digest
from runpod_comfy.spec.load import LoadedSpec, find_spec, load_spec

if TYPE_CHECKING:
    from runpod_comfy.lock.diff import Change
    from runpod_comfy.lock.upgrade import MovedPin

# The names of what is to be upgraded; None is everything.
Upgrading = Sequence[str] | None


@dataclass(frozen=True, kw_only=True)
class Selected:
    """A lock, the folder from which its relative paths are, and its file if it was there."""

    lock: Lock
    base_dir: Path
    path: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A new lock, the commits that moved in the spec, and how it differs from the last lock."""

    lock: Lock
    previous: Lock | None = None
    moved: tuple[MovedPin, ...] = ()
    changes: tuple[Change, ...] = ()


def read_spec(version_id: str, spec: Path | None) -> LoadedSpec:
    """The spec of a version, by file or by id; one that no folder has may come from a bundle."""
    if spec is not None:
        return load_spec(spec)
    try:
        return load_spec(find_spec(version_id, workspace()))
    except UnavailableError:
        loaded = loaded_spec_path(Cache.from_environment(), version_id)
        if not loaded.is_file():
            raise
        return load_spec(loaded)


def fetch_context_for(loaded_folder: Path, console: Console, *, offline: bool) -> FetchContext:
    """What the sources need: the caches, the spec's folder, and where to tell of progress."""
    return FetchContext(
        cache=Cache.from_environment(),
        base_dir=loaded_folder,
        offline=offline,
        say=console.say,
    )


def select(
    *, version_id: str, spec: Path | None, lock: Path | None, offline: bool, console: Console
) -> Selected:
    """The lock to work with; resolves the spec first where no lock answers it.

    Raises UnavailableError offline without a lock, and whatever resolving raises.
    """
    if lock is not None:
        return Selected(lock=load_lock(lock), base_dir=_spec_folder_of(lock), path=lock)
    loaded = read_spec(version_id, spec)
    cache = Cache.from_environment()
    found = find_lock(
        spec_digest=spec_digest(loaded.spec),
        spec_path=loaded.path,
        version_id=loaded.spec.version_id,
        cache=cache,
    )
    if found is not None:
        console.explain(f"Lock: {found[1]}")
        return Selected(lock=found[0], base_dir=loaded.path.parent, path=found[1])
    if offline:
        raise UnavailableError(
            f"no lock answers {loaded.path} as it is now, and --offline forbids making one",
            remedy=f"With a network: runpod-comfy resolve {loaded.spec.version_id}",
        )
    console.say(f"No lock answers {loaded.path} yet: resolving it first")
    return Selected(lock=resolve_and_write(loaded, console).lock, base_dir=loaded.path.parent)


def resolve_and_write(
    loaded: LoadedSpec, console: Console, *, offline: bool = False, upgrade: Upgrading = ()
) -> Resolved:
    """Resolves a spec and writes both copies of its lock, saying where.

    `upgrade` is None for everything. The commits in the spec file move with an upgrade.
    Raises InvalidInputError for an upgrade of something that the version does not have.
    """
    from runpod_comfy.lock.diff import compare_locks
    from runpod_comfy.lock.resolve import resolve
    from runpod_comfy.lock.store import previous_lock
    from runpod_comfy.lock.upgrade import UPGRADE_ALL, moved_pins, upgrade_of, with_moved_pins
    from runpod_comfy.spec.write import replace_commit

    fetch_context = fetch_context_for(loaded.path.parent, console, offline=offline)
    with using(fetch_context.cache, console.say):
        previous = previous_lock(loaded.path, loaded.spec.version_id, fetch_context.cache)
        chosen = UPGRADE_ALL
        if upgrade is not None:
            chosen = upgrade_of(upgrade, loaded.spec, previous, is_version=_is_version)
        moved = moved_pins(loaded.spec, chosen, fetch_context)
        loaded = with_moved_pins(loaded, moved)
        lock = resolve(loaded, fetch_context=fetch_context, previous=previous, upgrade=chosen)
        for pin in moved:
            replace_commit(loaded.path, pin.place, pin.before, pin.after)
            console.say(f"{loaded.path}: {pin.title} {pin.before} → {pin.after}")
        for path in write_lock(lock, spec_path=loaded.path, cache=fetch_context.cache):
            console.say(f"Wrote {path}")
    changes = compare_locks(previous, lock) if previous else []
    return Resolved(lock=lock, previous=previous, moved=tuple(moved), changes=tuple(changes))


def _is_version(name: str) -> bool:
    return (workspace() / "versions" / f"{name}.json").is_file()


def keep_cache_for(selected: Selected, cache: Cache, console: Console) -> None:
    """A lock that came with a clone was never written here, so that `gc` does not know it yet."""
    path = selected.path
    if path is None or path.absolute().is_relative_to(cache.resolved) or is_recorded(cache, path):
        return
    with using(cache, console.say):
        record_root(cache, kind="lock", path=path, lock_bytes=selected.lock.to_bytes())


def _spec_folder_of(lock: Path) -> Path:
    """Relative paths in a lock are from its spec's folder: `versions/` beside `lockfiles/`."""
    folder = lock.absolute().parent
    versions = folder.parent / "versions"
    return versions if folder.name == "lockfiles" and versions.is_dir() else folder
