"""Brings the trees of a plan into the cache, several at once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from comfy_errors import MismatchError
from runpod_comfy.layers.layer import Layer, TreeInput
from runpod_comfy.lock.model import LockedTree
from runpod_comfy.sources.kinds import source_of
from runpod_comfy.sources.redaction import without_secrets
from runpod_comfy.sources.tree import Surroundings, TreeRequest

_FETCHES_AT_ONCE = 8


def fetch_trees(layers: Sequence[Layer], surroundings: Surroundings) -> dict[str, Path]:
    """The folder in the cache of each tree that `layers` take in, by the tree's hash.

    Raises what the sources raise, and MismatchError if a source gives other files than the lock
    knows.
    """
    trees = [
        (layer.name, each.tree)
        for layer in layers
        for each in layer.inputs
        if isinstance(each, TreeInput)
    ]
    with ThreadPoolExecutor(max_workers=_FETCHES_AT_ONCE) as pool:
        try:
            folders = list(pool.map(lambda item: _fetch(item[0], item[1], surroundings), trees))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return {tree.tree_hash: folder for (_, tree), folder in zip(trees, folders, strict=True)}


def _fetch(layer_name: str, tree: LockedTree, surroundings: Surroundings) -> Path:
    surroundings.say(f"Fetching {layer_name}: {without_secrets(tree.repo)}")
    request = TreeRequest(repo=tree.repo, ref=tree.ref, commit=tree.commit, subdir=tree.subdir)
    fetched = source_of(tree.kind).fetch(request, surroundings)
    if fetched.tree_hash != tree.tree_hash:
        raise MismatchError(
            f"{without_secrets(tree.repo)} at {tree.commit} has the files {fetched.tree_hash}, "
            f"but the lock asks for {tree.tree_hash}",
            remedy="Find out why the source changed, or resolve the version again.",
        )
    return fetched.path
