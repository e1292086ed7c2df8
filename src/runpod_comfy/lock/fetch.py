"""Fetches a tree of a lock into the cache, and checks that it matches the lock."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from comfy_errors import ComfyError, InvalidInputError, MismatchError
from comfy_http.redaction import without_secrets
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext, TreeStore
from runpod_comfy.lock.model import LockedTree
from runpod_comfy.sources.kinds import source_of


def has_tree(tree: LockedTree, cache: Cache) -> bool:
    """True if the cache has the tree. Raises OperationFailedError for a damaged entry."""
    return TreeStore(cache=cache).find(tree.request) is not None


def fetch_tree(name: str, tree: LockedTree, fetch_context: FetchContext) -> Path:
    """The folder of the tree; `name` is used in messages.

    Raises what the source raises, and MismatchError if the files differ from the lock.
    """
    if not has_tree(tree, fetch_context.cache):
        fetch_context.say(f"Fetching {name}: {without_secrets(tree.repo)}")
    key = f"tree {tree.repo} {tree.commit} {tree.subdir or ''}"
    with fetch_context.cache.key_lock(key, what=name, say=fetch_context.say):
        try:
            fetched = source_of(tree.kind).fetch(tree.request, fetch_context)
        except ComfyError as error:
            error.within(name)
            raise
    if fetched.tree_hash != tree.tree_hash:
        raise MismatchError(
            f"{without_secrets(tree.repo)} at {tree.commit} has the files {fetched.tree_hash}, "
            f"but the lock has {tree.tree_hash}",
            remedy="Find out why the source changed, or resolve the version again.",
        )
    return fetched.path


def require_install_scripts(trees: Mapping[str, Path]) -> None:
    """Raises InvalidInputError unless each tree (by the name of its node) has an install.py."""
    lacking = [node for node, tree in trees.items() if not (tree / "install.py").is_file()]
    if lacking:
        nodes = "that node has" if len(lacking) == 1 else "these nodes have"
        raise InvalidInputError(
            f"'options.run_install_scripts' names {' and '.join(map(repr, lacking))}, but {nodes} "
            "no install.py",
            remedy="Remove nodes without one from the list, and resolve again.",
        )
