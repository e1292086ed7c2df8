"""Bundle → caches: every byte is checked before it is stored."""

from __future__ import annotations

import stat
import tarfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from comfy_errors import InvalidInputError, MismatchError
from comfy_files.files import COPY_BYTES, replace_file, write_hashed
from comfy_files.progress import UNSEEN, Progress, Say, counted, readable_size, say_nothing
from comfy_files.space import require_room
from comfy_http.redaction import without_secrets
from comfy_models.store import ModelStore
from comfy_models.transfer.keep import keep
from comfy_models.verify import store_memory
from runpod_comfy.bundle.format import BundleSummary, summary_of, tree_path
from runpod_comfy.bundle.reader import OpenBundle, open_bundle
from runpod_comfy.cache.archive_store import find_archive, keep_archive
from runpod_comfy.cache.paths import MORE_ROOM, Cache
from runpod_comfy.cache.tree import FetchedSubmodule, Filling, TreeStore
from runpod_comfy.lock.model import LockedTree
from runpod_comfy.lock.store import write_lock
from runpod_comfy.sources.tree_writer import TreeWriter


def load_bundle(
    path: Path,
    cache: Cache,
    *,
    platform: str,
    say: Say = say_nothing,
    progress: Progress = UNSEEN,
) -> BundleSummary:
    """Fills the caches from a bundle for `platform`, and stores its spec and lock there.

    Can be killed at any moment and run again. Raises as `open_bundle` does, InvalidInputError for a
    bundle for another platform, and MismatchError naming a part with wrong bytes: that part is not
    kept.
    """
    with open_bundle(path) as bundle:
        lock = bundle.lock
        if bundle.index.platform != platform:
            raise InvalidInputError(
                f"{path} is for {bundle.index.platform}, but this machine is {platform}",
                remedy=f"Make one for it: runpod-comfy bundle create {lock.version_id} "
                f"--platform {platform}",
            )
        _require_room(bundle, cache)
        summary = summary_of(bundle.index, lock)
        models = ModelStore(cache.models)
        memory = store_memory(models)
        say(f"Checking {len(bundle.entries)} parts, {readable_size(summary.size_bytes)}")
        size_bytes = sum(entry.size for entry in bundle.entries)
        progress.expect("parts", count=len(bundle.entries), size_bytes=size_bytes)
        for entry, packed in bundle.read():
            content = counted(packed, "parts", progress)
            kind = entry.path.split("/")[0]
            where = f"{entry.path} in {path}"
            with cache.writing():
                if kind == "trees":
                    _keep_trees(entry.path, content, bundle, cache)
                elif kind == "wheels" and not find_archive(entry.sha256, cache):
                    keep_archive(content, cache, where=where, expected_sha256=entry.sha256)
                elif kind == "models" and not models.holds(entry.sha256):
                    keep(content, models, where=where, expected_sha256=entry.sha256)
                    memory.keep(models.path_of(entry.sha256), entry.sha256)
            # Entries that are already cached are checked too.
            for _ in content:
                pass
            progress.arrived("parts", count=1)
        spec_path = cache.loaded_spec(lock.version_id)
        with cache.writing():
            replace_file(spec_path, bundle.spec, workplace=cache.tmp)
            write_lock(lock, spec_path=spec_path, cache=cache)
        return summary


def describe_bundle(path: Path) -> BundleSummary:
    """What a bundle's index says it holds; the parts are not read."""
    with open_bundle(path) as bundle:
        return summary_of(bundle.index, bundle.lock)


def _keep_trees(entry: str, content: Iterator[bytes], bundle: OpenBundle, cache: Cache) -> None:
    """Stores every tree of the lock that has these files and is not in the cache yet."""
    store = TreeStore(cache=cache)
    missing = []
    for tree, epoch in zip(bundle.lock.trees, bundle.index.epochs, strict=True):
        if tree_path(tree) == entry and store.find(tree.request) is None:
            missing.append((tree, epoch))
    if not missing:
        return
    with cache.scratch("bundled-tree") as folder:
        packed = folder / "tree.tar"
        with packed.open("wb") as stream:
            write_hashed(content, stream)
        for tree, epoch in missing:
            fill = partial(_fill, packed=packed, tree=tree, epoch=epoch)
            try:
                store.enter(tree.request, fill, expected_tree_hash=tree.tree_hash)
            except MismatchError as error:
                raise MismatchError(
                    f"the tree of {error.message}, in {bundle.path}", remedy=error.remedy
                ) from error


def _fill(folder: Path, *, packed: Path, tree: LockedTree, epoch: int) -> Filling:
    """Unpacks the tar file of a tree. Raises InvalidInputError for a hostile or damaged one."""
    where = f"the bundled tree of {without_secrets(tree.repo)}"
    remedy = "Make the bundle again: runpod-comfy bundle create ID"
    writer = TreeWriter(root=folder, where=where)
    try:
        with tarfile.open(packed, mode="r:") as archive:
            for member in archive:
                content = archive.extractfile(member) if member.isreg() else None
                if content is not None:
                    chunks = iter(partial(content.read, COPY_BYTES), b"")
                    executable = bool(member.mode & stat.S_IXUSR)
                    writer.write_file(member.name, chunks, executable=executable)
                elif member.issym():
                    writer.add_link(member.name, member.linkname)
                else:
                    raise InvalidInputError(
                        f"{where}: '{member.name}' is neither a file nor a symbolic link",
                        remedy=remedy,
                    )
    except tarfile.TarError as error:
        raise InvalidInputError(f"{where} is damaged: {error}", remedy=remedy) from error
    writer.finish()
    submodules = (FetchedSubmodule(**dict(item)) for item in tree.submodules)
    return Filling(epoch=epoch, submodules=tuple(submodules))


def _require_room(bundle: OpenBundle, cache: Cache) -> None:
    store = ModelStore(cache.models)
    needs = {cache.root: 0.0, cache.models: 0.0}
    for entry in bundle.entries:
        if entry.path.startswith("models/"):
            needs[cache.models] += 0 if store.holds(entry.sha256) else entry.size
        elif not find_archive(entry.sha256, cache):
            needs[cache.root] += entry.size
    require_room(needs.items(), remedy=MORE_ROOM)
