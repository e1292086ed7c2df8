"""A tree of a lock, brought into the cache: the very files that the lock knows."""

from __future__ import annotations

from pathlib import Path

from comfy_errors import MismatchError
from runpod_comfy.lock.model import LockedTree
from runpod_comfy.sources.kinds import source_of
from runpod_comfy.sources.one_maker import one_maker
from runpod_comfy.sources.redaction import without_secrets
from runpod_comfy.sources.tree import Surroundings, TreeRequest


def fetch_tree(name: str, tree: LockedTree, surroundings: Surroundings) -> Path:
    """The folder of the tree; `name` is what people know it by.

    Raises what the source raises, and MismatchError if it gives other files than the lock knows.
    """
    surroundings.say(f"Fetching {name}: {without_secrets(tree.repo)}")
    request = TreeRequest(repo=tree.repo, ref=tree.ref, commit=tree.commit, subdir=tree.subdir)
    key = f"tree {tree.repo} {tree.commit} {tree.subdir or ''}"
    with one_maker(surroundings.cache, key, what=name, say=surroundings.say):
        fetched = source_of(tree.kind).fetch(request, surroundings)
    if fetched.tree_hash != tree.tree_hash:
        raise MismatchError(
            f"{without_secrets(tree.repo)} at {tree.commit} has the files {fetched.tree_hash}, "
            f"but the lock asks for {tree.tree_hash}",
            remedy="Find out why the source changed, or resolve the version again.",
        )
    return fetched.path
