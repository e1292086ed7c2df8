"""Versions by id, spec or lock: creating, resolving, and selecting the lock to use."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_errors import ComfyError, InvalidInputError, UnavailableError
from comfy_errors.names import listed
from comfy_files.progress import UNSEEN, Progress, Say, say_nothing
from comfy_files.user_paths import real
from comfy_models.store import ModelStore
from runpod_comfy.api.arguments import as_text, checked
from runpod_comfy.api.workspace import StrPath, as_path, find_project, version_id_of
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.roots import is_recorded, record_root
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.lock.drift.folders import LockedFolder, locked_folders
from runpod_comfy.lock.model import Lock, UnhashedModel
from runpod_comfy.lock.store import find_lock, load_lock, previous_lock, write_lock
from runpod_comfy.spec.load import LoadedSpec, find_spec, load_spec

if TYPE_CHECKING:
    from runpod_comfy.lock.diff import LockChange
    from runpod_comfy.lock.upgrade import MovedPin


@dataclass(frozen=True, kw_only=True)
class Created:
    """A spec's file; `written` is false if it already had this content."""

    version_id: str
    path: Path
    written: bool


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A new lock and its committed file, the commits that changed in the spec, and how the lock
    differs from the last one, `previous`.
    """

    lock: Lock
    path: Path
    previous: Lock | None = None
    moved: tuple[MovedPin, ...] = ()
    changes: tuple[LockChange, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Selected:
    """A lock, the folder that its relative paths are based on, and its file if it existed.

    `downloaded` are the sha256 of models that were downloaded now, to complete the lock, and
    `refused` are those that could not be, with the reason.
    """

    lock: Lock
    base_dir: Path
    path: Path | None = None
    downloaded: frozenset[str] = frozenset()
    refused: tuple[tuple[UnhashedModel, ComfyError], ...] = ()


@checked
def create(
    version_id: str,
    *,
    repo: StrPath,
    nodes: Sequence[StrPath | Mapping[str, Any]] = (),
    models: Sequence[StrPath | Mapping[str, Any]] = (),
    models_root: StrPath | None = None,
    auto_checksum: bool = False,
    output: StrPath | None = None,
    force: bool = False,
    project: StrPath | None = None,
    say: Say = say_nothing,
) -> Created:
    """Writes a version's spec to `output`, `versions/<id>.json` of the project by default.

    `repo` is `URL[@REF]` or a path; each of `nodes` may also be an object or a JSON file; each of
    `models` is an object or a JSON file with a list; objects may be JSON text. Every ref is
    resolved to its current commit. Model files are searched for in `models_root`, and hashed with
    `auto_checksum`. Raises InvalidInputError for invalid arguments and for a different existing
    spec, which `force` replaces; UnavailableError for anything out of reach.
    """
    from comfy_files.parallel import in_parallel
    from comfy_models.verify import store_memory
    from runpod_comfy.sources.kinds import settle
    from runpod_comfy.spec.create import create_spec
    from runpod_comfy.spec.write import write_spec

    default = find_project(project) / "versions" / f"{version_id}.json"
    path = (as_path(output) or default).absolute()
    fetch_context = FetchContext(cache=Cache.from_environment(), base_dir=path.parent, say=say)
    with fetch_context.cache.using(say):
        spec = create_spec(
            version_id,
            repo=as_text(repo),
            nodes=[as_text(node) for node in nodes],
            models=[as_text(model) for model in models],
            models_root=as_path(models_root),
            auto_checksum=auto_checksum,
            memory=store_memory(ModelStore(fetch_context.cache.models)),
            output=path,
            working_dir=Path.cwd(),
            settle=lambda trees: in_parallel(lambda tree: settle(tree, fetch_context), trees),
            say=say,
        )
    written = write_spec(spec, path, force=force)
    return Created(version_id=version_id, path=path, written=written)


@checked
def resolve(
    version_id: str | None = None,
    *,
    spec: StrPath | None = None,
    offline: bool = False,
    upgrade: Sequence[str] | None = (),
    hash_models: bool = False,
    project: StrPath | None = None,
    say: Say = say_nothing,
    progress: Progress = UNSEEN,
) -> Resolved:
    """Pins every byte of a version and writes both copies of its lock.

    `version_id` is `COMFY_VERSION_NAME` or `demo` by default, `spec` a file to use instead of the
    project's `versions/<id>.json`. `upgrade` names what to move to its newest version, None
    everything; commits in the spec file change with it. `hash_models` downloads the models whose
    sha256 no host tells into the store, as the first use of the lock does; `progress` counts them.
    `offline` uses the caches only. Raises InvalidInputError for an invalid spec, for a broken lock
    unless everything is upgraded, and for an upgrade of something that is not in the version,
    UnavailableError for anything out of reach, OperationFailedError for requirements without a
    solution.
    """
    return resolve_spec(
        read_spec(version_id, spec, project),
        offline=offline,
        upgrade=upgrade,
        hash_models=hash_models,
        say=say,
        progress=progress,
    )


def resolve_spec(
    loaded: LoadedSpec,
    *,
    offline: bool = False,
    upgrade: Sequence[str] | None = (),
    update: bool = False,
    write: bool = True,
    hash_models: bool = False,
    timeout_s: float | None = None,
    say: Say = say_nothing,
    progress: Progress = UNSEEN,
) -> Resolved:
    """Resolves a spec that was already read, as `resolve` does. `update` accepts changes in its
    folders, even if the spec has a `commit` for them, and changes no other pin. Without `write` the
    lock is only returned, for a plan. A host of models may be silent for `timeout_s` seconds.
    """
    # These load uv's side and the sources, which a version with a lock does not need.
    from runpod_comfy.lock.diff import compare_locks
    from runpod_comfy.lock.models.complete import hash_models as complete_lock
    from runpod_comfy.lock.resolve import resolve as resolve_lock
    from runpod_comfy.lock.store import committed_lock_path
    from runpod_comfy.lock.upgrade import (
        UPGRADE_ALL,
        folder_upgrade,
        moved_pins,
        upgrade_of,
        with_moved_pins,
    )
    from runpod_comfy.sources.model_hosts import model_hosts
    from runpod_comfy.spec.write import replace_commit

    fetch_context = fetch_context_for(loaded.path.parent, offline=offline, say=say)

    def is_version(name: str) -> bool:
        return (loaded.path.parent / f"{name}.json").is_file()

    with fetch_context.cache.using(say):
        replaced = None
        try:
            previous = previous_lock(loaded, fetch_context.cache)
        except InvalidInputError as error:
            if upgrade is not None:
                raise
            previous, replaced = None, error.message
        chosen = UPGRADE_ALL
        if update:
            chosen = folder_upgrade(loaded.spec)
        elif upgrade is not None:
            chosen = upgrade_of(upgrade, loaded.spec, previous, is_version=is_version)
        moved = moved_pins(loaded.spec, chosen, fetch_context)
        loaded = with_moved_pins(loaded, moved)
        lock = resolve_lock(
            loaded,
            fetch_context=fetch_context,
            previous=previous,
            upgrade=chosen,
            timeout_s=timeout_s,
        )
        if moved:
            with editing(loaded.path, fetch_context.cache, say):
                for pin in moved:
                    replace_commit(loaded.path, pin.place, pin.before, pin.after)
                    say(f"{loaded.path}: {pin.title} {pin.before} → {pin.after}")
        if hash_models:
            store, hosts = (
                ModelStore(fetch_context.cache.models),
                model_hosts(loaded.path.parent, timeout_s=timeout_s, say=say),
            )
            lock = complete_lock(lock, store, hosts, say=say, progress=progress)
        if write:
            if replaced:
                say(f"Warning: {replaced}; a new lock replaces it")
            for path in write_lock(lock, spec_path=loaded.path, cache=fetch_context.cache):
                say(f"Wrote {path}")
    for folder in _pinned_folders(loaded, lock, fetch_context):
        if folder.is_changed():
            update_it = f"runpod-comfy resolve {lock.version_id} --upgrade {folder.name}"
            say(folder.warning(update_it))
    return Resolved(
        lock=lock,
        path=committed_lock_path(loaded.path, lock.version_id),
        previous=previous,
        moved=tuple(moved),
        changes=tuple(compare_locks(previous, lock)) if previous else (),
    )


def select(
    version_id: str | None = None,
    *,
    spec: StrPath | None = None,
    lock: StrPath | None = None,
    project: StrPath | None = None,
    offline: bool = False,
    update: bool = False,
    write: bool = True,
    command: str = "resolve {}",
    timeout_s: float | None = None,
    keep_going: bool = False,
    say: Say = say_nothing,
    explain: Say = say_nothing,
    progress: Progress = UNSEEN,
) -> Selected:
    """The lock to use: the file `lock`, or the one that matches the version's spec. The spec is
    resolved first if none does, and with `update` if one of its folders was changed. Its models
    whose sha256 is not known are downloaded first, which `progress` counts, and the lock is written
    with it; a host may be silent for `timeout_s` seconds. One that cannot be downloaded is an
    error, or with `keep_going` one of the `refused`. Without `write` nothing is downloaded and no
    lock is written.

    `say` receives the folders that were changed since they were locked, and the `command` that
    accepts the change, with `{}` for the version; `explain` receives the lock's path. Raises
    UnavailableError offline without a lock, InvalidInputError for a file of another version than
    `version_id` and for a chosen lock with `update`, and what resolving raises.
    """
    if update and (lock or os.environ.get("LOCK_PATH")):
        chosen = "--lock" if lock else "LOCK_PATH"
        raise InvalidInputError(
            f"--update makes a new lock, but {chosen} names one to use as it is",
            remedy=f"Leave out --update, or {chosen}.",
        )
    # With a lock too: an empty id is an error.
    asked = version_id_of(version_id)
    loaded = None
    if (path := as_path(lock)) is not None:
        selected = Selected(
            lock=load_lock(path, version_id=version_id), base_dir=_spec_folder_of(path), path=path
        )
        changed = _changed_folders(selected)
    else:
        loaded = read_spec(asked, spec, project)
        selected, changed = _selected_answer(
            loaded,
            offline=offline,
            update=update,
            write=write,
            timeout_s=timeout_s,
            say=say,
            explain=explain,
        )
    for folder in changed:
        say(folder.warning(f"runpod-comfy {command.replace('{}', selected.lock.version_id, 1)}"))
    if version_id and version_id != selected.lock.version_id:
        raise InvalidInputError(
            f"{lock or spec} is of '{selected.lock.version_id}', not of '{version_id}'",
            remedy="Leave out one of the two.",
        )
    if write and selected.lock.unhashed_models:
        # Imported late: a complete lock needs no network.
        from runpod_comfy.lock.models.complete import LockPlace, complete

        place = LockPlace(path=selected.path, loaded=loaded, base_dir=selected.base_dir)
        refused: list[tuple[UnhashedModel, ComfyError]] = []
        stored = ModelStore(Cache.from_environment().models).names()
        whole = complete(
            selected.lock,
            place,
            offline=offline,
            timeout_s=timeout_s,
            failed=(lambda *each: refused.append(each)) if keep_going else None,
            say=say,
            progress=progress,
        )
        known = {model.sha256 for model in selected.lock.models}
        downloaded = frozenset(model.sha256 for model in whole.models) - known - stored
        return replace(selected, lock=whole, downloaded=downloaded, refused=tuple(refused))
    if selected.lock.unhashed_models:
        names = listed([model.name for model in selected.lock.unhashed_models])
        say(f"The lock is incomplete: to learn their sha256, realize would download {names}")
    return selected


def _selected_answer(
    loaded: LoadedSpec,
    *,
    offline: bool,
    update: bool,
    write: bool,
    timeout_s: float | None,
    say: Say,
    explain: Say,
) -> tuple[Selected, list[LockedFolder]]:
    """The lock that matches the spec, with the folders that were changed since, or a new lock."""
    found = find_lock(loaded, Cache.from_environment())
    if found is not None:
        explain(f"Lock: {found[1]}")
        selected = Selected(lock=found[0], base_dir=loaded.path.parent, path=found[1])
        changed = _changed_folders(selected)
        edited = [each.name for each in changed if not each.is_gone]
        if not update or not edited:
            return selected, changed
        say(f"Changed since the lock was made: {', '.join(edited)}. Resolving again")
    elif offline:
        raise UnavailableError(
            f"no lock matches the current {loaded.path}, and network access is off (--offline)",
            remedy=f"Run without --offline: runpod-comfy resolve {loaded.spec.version_id}",
        )
    else:
        say(f"No lock matches {loaded.path} yet: resolving it first")
    resolved = resolve_spec(
        loaded, offline=offline, update=update, write=write, timeout_s=timeout_s, say=say
    )
    if not write:
        say(f"The new lock was not written (--dry-run): realize would write {resolved.path}")
    return Selected(lock=resolved.lock, base_dir=loaded.path.parent), []


def read_spec(version_id: str | None, spec: StrPath | None, project: StrPath | None) -> LoadedSpec:
    """The spec of a version, by file or by id (`COMFY_VERSION_NAME`, then `demo`); if the project
    does not have it, from a bundle.
    """
    version_id = version_id_of(version_id)
    path = as_path(spec)
    if path is not None:
        return load_spec(path)
    try:
        return load_spec(find_spec(version_id, find_project(project)))
    except UnavailableError:
        loaded = Cache.from_environment().loaded_spec(version_id)
        if not loaded.is_file():
            raise
        return load_spec(loaded)


def editing(spec: Path, cache: Cache, say: Say) -> contextlib.AbstractContextManager[int | None]:
    """Keeps other commands from editing a spec file during the block."""
    path = real(spec)
    return cache.key_lock(f"spec {path}", what=str(path), say=say)


def fetch_context_for(folder: Path, *, offline: bool, say: Say) -> FetchContext:
    """The context for the sources of a spec in `folder`."""
    return FetchContext(cache=Cache.from_environment(), base_dir=folder, offline=offline, say=say)


def keep_cache_for(selected: Selected, cache: Cache, say: Say) -> None:
    """Records a lock for `gc`, which does not know a lock that came with a clone."""
    path = selected.path
    if path is None or path.absolute().is_relative_to(cache.resolved) or is_recorded(cache, path):
        return
    with cache.using(say):
        record_root(cache, kind="lock", path=path, lock_bytes=selected.lock.to_bytes())


def _changed_folders(selected: Selected) -> list[LockedFolder]:
    fetch_context = fetch_context_for(selected.base_dir, offline=True, say=say_nothing)
    folders = locked_folders(selected.lock, fetch_context)
    return [folder for folder in folders if folder.is_changed()]


def _pinned_folders(
    loaded: LoadedSpec, lock: Lock, fetch_context: FetchContext
) -> list[LockedFolder]:
    """The folders with a `commit` in the spec, which a plain `resolve` does not update."""
    from runpod_comfy.lock.upgrade import title_of, trees_of

    pinned = {title_of(tree) for _, tree in trees_of(loaded.spec) if tree.commit is not None}
    return [each for each in locked_folders(lock, fetch_context) if each.name in pinned]


def _spec_folder_of(lock: Path) -> Path:
    """Relative paths in a lock are based on its spec's folder: `versions/` beside `lockfiles/`."""
    folder = lock.absolute().parent
    versions = folder.parent / "versions"
    return versions if folder.name == "lockfiles" and versions.is_dir() else folder
