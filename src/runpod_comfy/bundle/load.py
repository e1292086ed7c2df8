"""Bundle → caches: every byte is checked before it is kept."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from comfy_errors import InvalidInputError, MismatchError, OperationFailedError
from comfy_files.atomic import replace_file
from comfy_files.progress import Say, say_nothing
from comfy_files.sizes import readable_size
from comfy_http.redaction import without_secrets
from comfy_models.store import ModelStore
from runpod_comfy.bundle.format import BundledTree, BundleSummary, Entry
from runpod_comfy.bundle.places import loaded_spec_path
from runpod_comfy.bundle.reader import OpenBundle, open_bundle
from runpod_comfy.bundle.tree_tar import unpack_tree
from runpod_comfy.cache.archive_store import find_archive, keep_archive
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchedSubmodule, TreeRequest
from runpod_comfy.cache.tree_store import Filling, TreeStore
from runpod_comfy.lock.model import LockedTree
from runpod_comfy.lock.store import write_lock

_TOLD_EVERY_BYTES = 1_000_000_000


def load_bundle(
    path: Path, cache: Cache, *, platform: str, say: Say = say_nothing
) -> BundleSummary:
    """Fills the caches from a bundle for `platform`, and keeps its spec and its lock there.

    Can be killed at any moment and run again. Raises as `open_bundle` does, and InvalidInputError
    for a bundle for another platform, MismatchError naming a part that has a wrong byte: nothing
    of that part is kept.
    """
    with open_bundle(path) as bundle:
        contents = bundle.contents
        if contents.platform != platform:
            raise InvalidInputError(
                f"{path} is for {contents.platform}, and this machine is {platform}",
                remedy=f"Make one for it: runpod-comfy bundle create {contents.version_id} "
                f"--platform {platform}",
            )
        _require_room(bundle, cache)
        told = done = 0
        for entry in bundle.entries:
            _keep(entry, bundle, cache)
            done += entry.size
            if done - told >= _TOLD_EVERY_BYTES:
                told = done
                say(f"Checked {readable_size(done)} of {readable_size(bundle.size_bytes)}")
        bundle.finish()
        _keep_spec_and_lock(bundle, cache)
        return summary_of(bundle)


def describe_bundle(path: Path) -> BundleSummary:
    """What a bundle says it holds; the bytes of its parts are not read."""
    with open_bundle(path) as bundle:
        return summary_of(bundle)


def summary_of(bundle: OpenBundle) -> BundleSummary:
    """What an open bundle holds."""
    names = {
        file.sha256: file.name
        for distribution in (*bundle.lock.python.torch, *bundle.lock.python.wheels)
        for file in distribution.files
    }
    kinds = [entry.path.split("/")[0] for entry in bundle.entries]
    files = [names[entry.sha256] for entry in bundle.entries if entry.path.startswith("wheels/")]
    return BundleSummary(
        version_id=bundle.lock.version_id,
        lock_digest=bundle.lock.digest,
        platform=bundle.contents.platform,
        trees=kinds.count("trees"),
        wheels=kinds.count("wheels"),
        models=kinds.count("models"),
        sources=tuple(name for name in files if not name.endswith(".whl")),
        size_bytes=bundle.size_bytes,
    )


def _keep(entry: Entry, bundle: OpenBundle, cache: Cache) -> None:
    kind = entry.path.split("/")[0]
    chunks = bundle.read(entry)
    if kind == "trees":
        _keep_trees(entry, chunks, bundle, cache)
    elif kind == "wheels":
        name = next(
            file.name
            for distribution in (*bundle.lock.python.torch, *bundle.lock.python.wheels)
            for file in distribution.files
            if file.sha256 == entry.sha256
        )
        with _named(f"{name} in {bundle.path}"):
            if not find_archive(entry.sha256, cache):
                keep_archive(chunks, cache, where=name, expected_sha256=entry.sha256)
            _drain(chunks)
    else:
        name = next(model.name for model in bundle.lock.models if model.sha256 == entry.sha256)
        store = ModelStore(cache.models)
        with _named(f"the model {name} in {bundle.path}"), cache.writing():
            if not store.holds(entry.sha256):
                store.add(chunks, expected_sha256=entry.sha256, where=name)
            _drain(chunks)


def _keep_trees(entry: Entry, chunks: Iterable[bytes], bundle: OpenBundle, cache: Cache) -> None:
    store = TreeStore(cache=cache)
    described = [tree for tree in bundle.contents.trees if tree.entry == entry.path]
    locked = {
        (tree.repo, tree.commit, tree.subdir): tree
        for tree in (bundle.lock.comfy, *bundle.lock.custom_nodes)
    }
    repos = ", ".join(without_secrets(tree.repo) for tree in described)
    with _named(f"the tree of {repos} in {bundle.path}"), cache.writing():
        if all(store.find(_request(locked[_key(tree)])) for tree in described):
            _drain(chunks)
            return
        cache.tmp.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache.tmp, prefix="bundled-tree-") as packed:
            for chunk in chunks:
                packed.write(chunk)
            packed.flush()
            for tree in described:
                request = _request(locked[_key(tree)])
                if store.find(request) is None:
                    store.enter(
                        request,
                        _filling(Path(packed.name), tree, locked[_key(tree)]),
                        expected_tree_hash=locked[_key(tree)].tree_hash,
                    )


def _filling(packed: Path, tree: BundledTree, locked: LockedTree) -> Callable[[Path], Filling]:
    def fill(folder: Path) -> Filling:
        unpack_tree(packed, folder, where=f"the bundled tree of {without_secrets(tree.repo)}")
        submodules = (
            FetchedSubmodule(path=item.path, repo=item.repo, commit=item.commit)
            for item in locked.submodules
        )
        return Filling(epoch=tree.epoch, submodules=tuple(submodules))

    return fill


def _key(tree: BundledTree) -> tuple[str, str, str | None]:
    return tree.repo, tree.commit, tree.subdir


def _request(tree: LockedTree) -> TreeRequest:
    return TreeRequest(repo=tree.repo, ref=tree.ref, commit=tree.commit, subdir=tree.subdir)


def _keep_spec_and_lock(bundle: OpenBundle, cache: Cache) -> None:
    spec_path = loaded_spec_path(cache, bundle.lock.version_id)
    with cache.writing():
        replace_file(spec_path, bundle.spec, workplace=cache.tmp)
        write_lock(bundle.lock, spec_path=spec_path, cache=cache)


def _require_room(bundle: OpenBundle, cache: Cache) -> None:
    store = ModelStore(cache.models)
    needs = {cache.root: 0, cache.models: 0}
    for entry in bundle.entries:
        if entry.path.startswith("models/"):
            needs[cache.models] += 0 if store.holds(entry.sha256) else entry.size
        elif not find_archive(entry.sha256, cache):
            needs[cache.root] += entry.size
    with cache.writing():
        for folder in needs:
            folder.mkdir(parents=True, exist_ok=True)
        if cache.models.stat().st_dev == cache.root.stat().st_dev:
            needs = {cache.root: sum(needs.values())}
        for folder, needed in needs.items():
            free = shutil.disk_usage(folder).free
            if needed > free:
                raise OperationFailedError(
                    f"{readable_size(needed)} are needed below {folder}, "
                    f"but only {readable_size(free)} are free there",
                    remedy="Make room, or name another folder in COMFY_CACHE_ROOT.",
                )


def _drain(chunks: Iterable[bytes]) -> None:
    """Reads what is left: what need not be kept is checked all the same."""
    for _ in chunks:
        pass


@contextlib.contextmanager
def _named(title: str) -> Iterator[None]:
    """Says which part it is that has a wrong byte."""
    try:
        yield
    except MismatchError as error:
        raise MismatchError(f"{title}: {error.message}", remedy=error.remedy) from error
