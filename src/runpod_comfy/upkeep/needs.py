"""What the cache is needed for now: roots → locks → the cache entries that they need."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from pydantic import ValidationError

from comfy_errors import ComfyError, InvalidInputError
from comfy_errors.names import quantity
from comfy_files.json_faults import faults_in_words
from comfy_home.layout import MARKER_NAME
from comfy_models.transfer.place import unhashed_key
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.roots import Root
from runpod_comfy.cache.tree import TreeStore
from runpod_comfy.homes.environment import environment_entry
from runpod_comfy.homes.steps import check_entry
from runpod_comfy.layers.plan import ENVIRONMENT, make_plan
from runpod_comfy.lock.model import Lock, LockedTree
from runpod_comfy.lock.python.wheels import handler_lock
from runpod_comfy.lock.store import load_lock
from runpod_comfy.sources.git.repository import GitRepository

_DAY_S = 24 * 3600
_GRACE_S = 7 * _DAY_S
"""How long the cache keeps the entries of a lock or home whose path is gone: its volume may not be
mounted, its branch not checked out.
"""


@dataclass(kw_only=True)
class RootLocks:
    """`roots` are the current roots, without the expired ones, which are in `dropped`; `locks` are
    their locks, `model_folders` the folders whose links keep models, `remarks` messages for the
    user.
    """

    roots: list[Root] = field(default_factory=list)
    dropped: list[Root] = field(default_factory=list)
    locks: list[Lock] = field(default_factory=list)
    model_folders: list[Path] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Needs:
    """Paths in the cache to keep, and what to keep inside others.

    `commits` are those of each git repository, by its path; `compiled` are (tree hash, Python's
    minor version); `distributions` are (normalized name, version); `models` are sha256,
    `downloads` the keys of models whose sha256 is not known yet.
    """

    paths: set[Path] = field(default_factory=set)
    commits: dict[Path, set[str]] = field(default_factory=dict)
    compiled: set[tuple[str, str]] = field(default_factory=set)
    distributions: set[tuple[str, str]] = field(default_factory=set)
    models: set[str] = field(default_factory=set)
    downloads: set[str] = field(default_factory=set)
    lock_digests: set[str] = field(default_factory=set)


def look_at_roots(roots: Sequence[Root], *, now: int) -> RootLocks:
    """Checks each root's path; `now` is in seconds since 1970.

    An existing lock is read again; for one that cannot be read, the last record is used. Raises
    InvalidInputError for a recorded lock that this program cannot read.
    """
    found = RootLocks()
    for root in roots:
        if _is_there(root):
            current = replace(root, gone_since=None)
            if root.kind == "lock":
                try:
                    document = json.loads(load_lock(root.path).to_bytes())
                    current = replace(current, lock=document)
                except ComfyError as error:
                    found.remarks.append(f"{error.message}; what it last needed is kept")
        else:
            current = replace(root, gone_since=root.gone_since or now)
            left_s = (root.gone_since or now) + _GRACE_S - now
            if left_s <= 0:
                found.dropped.append(current)
                continue
            days = math.ceil(left_s / _DAY_S)
            until = quantity(days, "more day")
            found.remarks.append(f"{_absence(root)}; what it needs is kept for {until}")
        found.roots.append(current)
        if current.lock is not None:
            found.locks.append(lock_of(current))
        if folder := model_folder_of(current):
            found.model_folders.append(folder)
    return found


def model_folder_of(root: Root) -> Path | None:
    """The folder whose links keep models; None for a lock."""
    return {"home": root.path / "models", "models": root.path}.get(root.kind)


def needs_of(locks: Iterable[Lock], cache: Cache) -> Needs:
    """What these locks need, on all of their platforms: other machines may share the cache."""
    needs = Needs()
    kept = {lock.digest: lock for lock in locks}.values()
    if kept:
        # For images of any of them.
        handler = handler_lock().distributions
        needs.paths.update(cache.archives / file.sha256 for each in handler for file in each.files)
    for lock in kept:
        needs.lock_digests.add(lock.digest)
        for tree in lock.trees:
            _add_tree(tree, lock.python.version, needs, cache)
        for distribution in lock.python.distributions:
            needs.distributions.add(distribution_key(distribution.name, distribution.version))
            needs.paths.update(cache.archives / file.sha256 for file in distribution.files)
        needs.models.update(model.sha256 for model in lock.models)
        for model in lock.unhashed_models:
            needs.downloads.update(unhashed_key(source.url) for source in model.sources)
            if model.sha256 is not None:
                needs.models.add(model.sha256)
        for platform in lock.python.platforms:
            plan = make_plan(lock, platform=platform)
            layers = [layer for layer in plan.layers if layer.kind in ENVIRONMENT]
            needs.paths.add(environment_entry(layers, cache))
            needs.paths.add(check_entry(plan.layer("check").key, cache))
    return needs


def distribution_key(name: str, version: str) -> tuple[str, str]:
    """The normalized form for comparing distributions: `Foo_bar 1.0.0` is `foo-bar 1`."""
    with contextlib.suppress(InvalidVersion):
        version = str(Version(version))
    return canonicalize_name(name), version


def _is_there(root: Root) -> bool:
    place = root.path / MARKER_NAME if root.kind == "home" else root.path
    try:
        os.stat(place)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        # A path that cannot be checked is not considered gone.
        return True
    return True


def _absence(root: Root) -> str:
    """How a root is gone: a folder may be there that holds no version any more."""
    if root.kind == "home" and root.path.is_dir():
        return f"{root.path} holds no version any more"
    return f"the {root.noun} {root.path} is gone"


def lock_of(root: Root) -> Lock:
    """The lock that a root recorded. Raises InvalidInputError if this program cannot read it."""
    try:
        return Lock.model_validate_json(json.dumps(root.lock))
    except ValidationError as error:
        raise InvalidInputError(
            f"the lock recorded for {root.path} cannot be read by this program "
            f"({faults_in_words(error)}), so its needs are unknown",
            remedy="Use the program that wrote it, or resolve or realize that version again.",
        ) from error


def _add_tree(tree: LockedTree, python: str, needs: Needs, cache: Cache) -> None:
    needs.paths.add(TreeStore(cache=cache).path_of(tree.request))
    needs.compiled.add((tree.tree_hash, python))
    if tree.commit.startswith("sha256:"):
        needs.paths.add(cache.archives / tree.commit.removeprefix("sha256:"))
    if tree.kind == "git":
        pinned = [(tree.repo, tree.commit), *((sub.repo, sub.commit) for sub in tree.submodules)]
        for repo, commit in pinned:
            needs.commits.setdefault(GitRepository.of(repo, cache).path, set()).add(commit)
