"""Brings the trees of a plan into the cache, several at once, each with its bytecode."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from comfy_files.parallel import in_parallel
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.layers.layer import Layer, TreeInput
from runpod_comfy.lock.fetch import fetch_tree
from runpod_comfy.lock.model import LockedTree
from runpod_comfy.realize.prepare.compiled_trees import compiled_tree
from runpod_comfy.realize.prepare.progress import Progress

_FETCHES_AT_ONCE = 8


def fetch_trees(
    layers: Sequence[Layer],
    fetch_context: FetchContext,
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
            fetch_tree(layer_name, tree, fetch_context),
            tree.tree_hash,
            python_version=python_version,
            cache=fetch_context.cache,
            keep_open=keep_open,
        )
        progress.arrived("trees", count=1)
        return compiled

    progress.expect("trees", count=len(trees))
    folders = in_parallel(bring, trees, threads=_FETCHES_AT_ONCE, give_up=True)
    return {tree.tree_hash: folder for (_, tree), folder in zip(trees, folders, strict=True)}
