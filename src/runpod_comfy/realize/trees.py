"""Brings the trees of a plan into the cache, several at once, each with its bytecode."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from comfy_errors import MismatchError
from runpod_comfy.layers.layer import Layer, TreeInput
from runpod_comfy.lock.model import LockedTree
from runpod_comfy.realize.compiled_trees import compiled_tree
from runpod_comfy.realize.progress import Progress
from runpod_comfy.sources.at_once import at_once
from runpod_comfy.sources.kinds import source_of
from runpod_comfy.sources.one_maker import one_maker
from runpod_comfy.sources.redaction import without_secrets
from runpod_comfy.sources.tree import Surroundings, TreeRequest

_FETCHES_AT_ONCE = 8


def fetch_trees(
    layers: Sequence[Layer],
    surroundings: Surroundings,
    *,
    python_version: str,
    progress: Progress,
    keep_open: Sequence[int] = (),
) -> dict[str, Path]:
    """The folder in the cache of each tree that `layers` take in, by the tree's hash.

    They hold bytecode for Python `python_version`. `keep_open` are file descriptors for the
    compiler to inherit. Raises what the sources raise, and MismatchError if a source gives other
    files than the lock knows.
    """
    trees = [
        (layer.name, each.tree)
        for layer in layers
        for each in layer.inputs
        if isinstance(each, TreeInput)
    ]

    def bring(item: tuple[str, LockedTree]) -> Path:
        layer_name, tree = item
        compiled = compiled_tree(
            _fetch(layer_name, tree, surroundings),
            tree.tree_hash,
            python_version=python_version,
            cache=surroundings.cache,
            keep_open=keep_open,
        )
        progress.arrived("trees", count=1)
        return compiled

    progress.expect("trees", count=len(trees))
    folders = at_once(bring, trees, threads=_FETCHES_AT_ONCE, give_up=True)
    return {tree.tree_hash: folder for (_, tree), folder in zip(trees, folders, strict=True)}


def _fetch(layer_name: str, tree: LockedTree, surroundings: Surroundings) -> Path:
    surroundings.say(f"Fetching {layer_name}: {without_secrets(tree.repo)}")
    request = TreeRequest(repo=tree.repo, ref=tree.ref, commit=tree.commit, subdir=tree.subdir)
    key = f"tree {tree.repo} {tree.commit} {tree.subdir or ''}"
    with one_maker(surroundings.cache, key, what=layer_name, say=surroundings.say):
        fetched = source_of(tree.kind).fetch(request, surroundings)
    if fetched.tree_hash != tree.tree_hash:
        raise MismatchError(
            f"{without_secrets(tree.repo)} at {tree.commit} has the files {fetched.tree_hash}, "
            f"but the lock asks for {tree.tree_hash}",
            remedy="Find out why the source changed, or resolve the version again.",
        )
    return fetched.path
