"""What proves that a version is the same each time: its spec resolved twice, and two homes."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from comfy_errors import UnavailableError
from comfy_files.files import children
from comfy_files.progress import UNSEEN, Progress, Say, when_slow
from comfy_files.read_only import remove_tree
from comfy_models.store import ModelStore
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.roots import forget_root
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.homes.home import Realization
from runpod_comfy.lock.diff import LockChange, compare_locks
from runpod_comfy.lock.model import Lock
from runpod_comfy.lock.store import find_lock, previous_lock
from runpod_comfy.spec.load import LoadedSpec

_ARCHIVES = "archive-v"
"""In uv's cache: the folders with the files of unpacked wheels, by random names."""
_SDISTS = "sdists-v"
"""In uv's cache: source distributions, and what was built of them."""


@contextlib.contextmanager
def unbuilt_cache(cache: Cache, root: Path) -> Iterator[Cache]:
    """A cache with everything that `cache` downloaded, and nothing that was built from it: trees,
    bytecode, wheels of source distributions, environments and results of checks are made again in
    it, which proves that what is built is the same each time.

    It is made in the folder `root`, which must not exist and be on the same file system.
    `cache` has to be in use during the block, and keeps what is downloaded within it, except
    packages. What the block put elsewhere in it is removed at the end. Raises OSError.
    """
    unbuilt = Cache(root=root, models_root=cache.models)
    for shared, place in ((cache.git, unbuilt.git), (cache.root / "archives", root / "archives")):
        shared.mkdir(parents=True, exist_ok=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(shared)
    _copy_downloads(cache.uv, unbuilt.uv)
    before = _linked_archives(unbuilt.uv)
    try:
        yield unbuilt
    finally:
        for archive in _linked_archives(unbuilt.uv) - before:
            remove_tree(archive)


def _copy_downloads(uv: Path, copy: Path) -> None:
    """Copies uv's cache without what it built. The files of wheels are shared: they are many."""
    copy.mkdir()
    for bucket in children(uv):
        place = copy / bucket.name
        if bucket.name.startswith(_ARCHIVES):
            place.symlink_to(bucket)
        elif bucket.is_dir():
            built = _built if bucket.name.startswith(_SDISTS) else None
            shutil.copytree(bucket, place, symlinks=True, ignore=built)
        else:
            shutil.copyfile(bucket, place)


def _built(folder: str, names: list[str]) -> list[str]:
    """Of the names in a folder of source distributions, those that a build made: wheels, links to
    their files, and their metadata. A source may have such names too.
    """
    parts = Path(folder).parts
    sdists = next(at for at, part in enumerate(parts) if part.startswith(_SDISTS))
    if "src" in parts[sdists:]:
        return []
    return [
        name
        for name in names
        if name == "metadata.msgpack"
        or name.endswith(".whl")
        or (name != "src" and os.path.islink(os.path.join(folder, name)))  # noqa: PTH114, PTH118
    ]


def _linked_archives(uv: Path) -> set[Path]:
    """The folders of unpacked wheels that uv's cache links to."""
    found = set()
    for parent, folders, _files in os.walk(uv):
        for name in folders:
            path = Path(parent, name)
            if path.is_symlink() and not name.startswith(_ARCHIVES):
                found.add(path.resolve())
    return found


@dataclass(frozen=True, kw_only=True)
class ResolvedTwice:
    """Two locks of one spec, each from the last lock's pins, and the lock that matches the spec, at
    `path`, if there was one. No lock file was written.
    """

    first: Lock
    second: Lock
    kept: Lock | None = None
    path: Path | None = None

    @property
    def is_repeatable(self) -> bool:
        return self.first.to_bytes() == self.second.to_bytes()

    @property
    def is_kept(self) -> bool:
        """True if resolving leaves the bytes of the version's lock, if it has one, as they are."""
        return self.path is None or self.path.read_bytes() == self.first.to_bytes()

    @property
    def changes(self) -> list[LockChange]:
        """What differs between the two, else between the version's lock and them."""
        if self.is_repeatable and self.kept is not None:
            return compare_locks(self.kept, self.first)
        return compare_locks(self.first, self.second)


@contextlib.contextmanager
def proving(cache: Cache, say: Say) -> Iterator[Path]:
    """An empty folder beside the cache's content, for homes that share files with it; it is removed
    at the end, with everything in it. Keeps `gc` out meanwhile.
    """
    with cache.using(say):
        with cache.writing():
            cache.tmp.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=cache.tmp, prefix="prove-"))
        try:
            yield folder
        finally:
            # Two environments have 100,000 files, which takes a while also after Ctrl-C.
            with when_slow(say, f"Removing {folder}"):
                remove_tree(folder)


def resolve_twice(loaded: LoadedSpec, folder: Path, context: FetchContext) -> ResolvedTwice:
    """Resolves a spec as `resolve` does, and again with no tree in the cache that was made before.

    The second cache is below `folder`. Raises what `resolve` raises.
    """
    from runpod_comfy.lock.resolve import resolve

    cache = context.cache
    kept = find_lock(loaded, cache)
    previous = kept[0] if kept else previous_lock(loaded, cache)
    first = resolve(loaded, fetch_context=context, previous=previous)
    with unbuilt_cache(cache, folder / "resolved") as unbuilt:
        again = replace(context, cache=unbuilt)
        second = resolve(loaded, fetch_context=again, previous=previous)
    return ResolvedTwice(
        first=first,
        second=second,
        kept=kept[0] if kept else None,
        path=kept[1] if kept else None,
    )


def whole_lock(
    lock: Lock, base_dir: Path, *, offline: bool, say: Say, progress: Progress = UNSEEN
) -> Lock:
    """The lock with every model hashed, for homes; its file stays as it is.

    Raises UnavailableError if that needs a download and it is `offline`.
    """
    if not lock.unhashed_models:
        return lock
    from runpod_comfy.lock.models.complete import hash_models, in_words
    from runpod_comfy.sources.model_hosts import model_hosts

    if offline:
        raise UnavailableError(
            f"no host reports the sha256 of {in_words(lock.unhashed_models)}, and network access "
            "is off (--offline)",
            remedy="Run the command once without --offline.",
        )
    store = ModelStore(Cache.from_environment().models)
    hosts = model_hosts(base_dir, say=say)
    return hash_models(lock, store, hosts, say=say, progress=progress)


@contextlib.contextmanager
def first_home(job: Realization, folder: Path, *, inputs: Path) -> Iterator[Realization]:
    """The realization of a home below `folder`, from the cache of `job`, which does not remember
    the home after the block. It reads the user's files from `inputs`, if that folder exists.
    """
    first = replace(job, target=folder / "first")
    _put_inputs(first, inputs)
    try:
        yield first
    finally:
        for root in (first.home.root, first.home.models):
            forget_root(job.cache, root)


@contextlib.contextmanager
def second_home(job: Realization, folder: Path, *, inputs: Path) -> Iterator[Realization]:
    """The realization of another home below `folder`, for which everything is built again, from
    what the cache of `job` has downloaded by now. It reads the user's files from `inputs` too.
    """
    with unbuilt_cache(job.cache, folder / "cache") as unbuilt:
        second = replace(job, target=folder / "second", cache=unbuilt)
        _put_inputs(second, inputs)
        yield second


def _put_inputs(job: Realization, inputs: Path) -> None:
    job.home.root.mkdir()
    if inputs.is_dir():
        (job.home.root / "input").symlink_to(inputs)
