"""What locks need of the cache, by the names that it has there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import TreeRequest
from runpod_comfy.cache.tree_store import TreeStore
from runpod_comfy.layers.plan import ENVIRONMENT, make_plan
from runpod_comfy.lock.model import Lock, LockedTree
from runpod_comfy.realize.environment import environment_entry
from runpod_comfy.realize.steps import check_entry
from runpod_comfy.sources.git.repository import GitRepository


@dataclass(kw_only=True)
class Needs:
    """Paths in the cache that are kept, and what is kept inside of others.

    `commits` are those of each git repository, by its path; `compiled` are (tree hash, Python's
    minor version); `distributions` are (normalized name, version); `models` are sha256.
    """

    paths: set[Path] = field(default_factory=set)
    commits: dict[Path, set[str]] = field(default_factory=dict)
    compiled: set[tuple[str, str]] = field(default_factory=set)
    distributions: set[tuple[str, str]] = field(default_factory=set)
    models: set[str] = field(default_factory=set)
    lock_digests: set[str] = field(default_factory=set)


def needs_of(locks: Iterable[Lock], cache: Cache) -> Needs:
    """What these locks need, on every platform that they are made for: others may share a cache."""
    needs = Needs()
    for lock in {lock.digest: lock for lock in locks}.values():
        needs.lock_digests.add(lock.digest)
        for tree in (lock.comfy, *lock.custom_nodes):
            _add_tree(tree, lock.python.version, needs, cache)
        for distribution in (*lock.python.torch, *lock.python.wheels):
            needs.distributions.add(distribution_key(distribution.name, distribution.version))
            needs.paths.update(cache.archives / file.sha256 for file in distribution.files)
        needs.models.update(model.sha256 for model in lock.models)
        for platform in lock.python.platforms:
            plan = make_plan(lock, platform=platform)
            layers = [layer for layer in plan.layers if layer.kind in ENVIRONMENT]
            needs.paths.add(environment_entry(layers, cache))
            needs.paths.add(check_entry(plan.layer("check").key, cache))
    return needs


def distribution_key(name: str, version: str) -> tuple[str, str]:
    """A distribution as it is compared: `Foo_bar 1.0.0` is `foo-bar 1`."""
    with contextlib.suppress(InvalidVersion):
        version = str(Version(version))
    return canonicalize_name(name), version


def _add_tree(tree: LockedTree, python: str, needs: Needs, cache: Cache) -> None:
    request = TreeRequest(repo=tree.repo, ref=tree.ref, commit=tree.commit, subdir=tree.subdir)
    needs.paths.add(TreeStore(cache=cache).path_of(request))
    needs.compiled.add((tree.tree_hash, python))
    if tree.commit.startswith("sha256:"):
        needs.paths.add(cache.archives / tree.commit.removeprefix("sha256:"))
    if tree.kind == "git":
        pinned = [(tree.repo, tree.commit), *((sub.repo, sub.commit) for sub in tree.submodules)]
        for repo, commit in pinned:
            needs.commits.setdefault(GitRepository.of(repo, cache).path, set()).add(commit)
