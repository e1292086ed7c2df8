"""Spec → lock: refs to commits, requirements to hashes, models to sha256 and size."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from comfy_errors import InvalidInputError, MismatchError
from runpod_comfy.lock.model import Base, Lock, LockedNode, LockedTree, Submodule
from runpod_comfy.lock.models import lock_models
from runpod_comfy.lock.python import lock_python
from runpod_comfy.lock.requirements import CORE, read_requirements
from runpod_comfy.sources.kinds import source_of
from runpod_comfy.sources.tree import FetchedTree, Surroundings, TreeRequest
from runpod_comfy.spec.digest import spec_digest
from runpod_comfy.spec.load import LoadedSpec
from runpod_comfy.spec.model import CustomNode, Tree

_FETCHES_AT_ONCE = 8
_CORE_FILES = ("main.py", "folder_paths.py")


@dataclass(frozen=True, kw_only=True)
class _Pinned:
    """A tree of the spec with its files in the cache."""

    tree: Tree
    commit: str
    fetched: FetchedTree


def resolve(loaded: LoadedSpec, *, surroundings: Surroundings, previous: Lock | None) -> Lock:
    """The lock of a spec. Pins of `previous` are kept where the spec still asks for them.

    Raises InvalidInputError, UnavailableError, MismatchError or OperationFailedError, each with
    the tree, requirement or model that it is about.
    """
    spec = loaded.spec
    core, *nodes = _fetch_all([spec.comfy, *spec.custom_nodes], surroundings, previous)
    _refuse_what_is_no_core(core)
    requirements = read_requirements(CORE, core.fetched.path)
    for node, pinned in zip(spec.custom_nodes, nodes, strict=True):
        requirements += read_requirements(f"node:{node.name}", pinned.fetched.path)
    python = lock_python(
        requirements,
        options=spec.options,
        previous=previous.python if previous else None,
        surroundings=surroundings,
    )
    models = lock_models(spec.models, spec_folder=loaded.path.parent, say=surroundings.say)
    return Lock(
        lock_version=1,
        version_id=spec.version_id,
        spec_digest=spec_digest(spec),
        comfy=_locked(core),
        custom_nodes=[
            LockedNode(name=node.name, **dict(_locked(pinned)))
            for node, pinned in zip(spec.custom_nodes, nodes, strict=True)
        ],
        python=python,
        models=models,
        base=Base(image=spec.options.base, system_packages=spec.options.system_packages),
        env=spec.env,
        comfy_args=spec.options.comfy_args,
        run_install_scripts=spec.options.run_install_scripts,
        allow_pickle=spec.options.allow_pickle,
        user=spec.options.user,
        epoch=max(pinned.fetched.epoch for pinned in (core, *nodes)),
    )


def _fetch_all(
    trees: Sequence[Tree], surroundings: Surroundings, previous: Lock | None
) -> list[_Pinned]:
    with ThreadPoolExecutor(max_workers=_FETCHES_AT_ONCE) as pool:
        return list(pool.map(lambda tree: _fetch(tree, surroundings, previous), trees))


def _fetch(tree: Tree, surroundings: Surroundings, previous: Lock | None) -> _Pinned:
    request = TreeRequest(repo=tree.repo, ref=tree.ref, commit=tree.commit, subdir=tree.subdir)
    source = source_of(tree.kind)
    known = _previous_tree(tree, previous)
    commit = tree.commit or (known and known.commit) or source.pin(request, surroundings)
    pinned = TreeRequest(repo=tree.repo, ref=tree.ref, commit=commit, subdir=tree.subdir)
    surroundings.say(f"Fetching {_title(tree)} at {commit.removeprefix('sha256:')[:12]}")
    fetched = source.fetch(pinned, surroundings)
    if known and known.commit == commit and known.tree_hash != fetched.tree_hash:
        raise MismatchError(
            f"{tree.repo} at {commit} has the files {fetched.tree_hash}, "
            f"but the lock knows them as {known.tree_hash}",
            remedy="The source gave other bytes for the same commit; find out why before going on.",
        )
    return _Pinned(tree=tree, commit=commit, fetched=fetched)


def _refuse_what_is_no_core(core: _Pinned) -> None:
    missing = [name for name in _CORE_FILES if not (core.fetched.path / name).is_file()]
    if missing:
        inside = f" in {core.tree.subdir}" if core.tree.subdir else ""
        raise InvalidInputError(
            f"{core.tree.repo} at {core.commit} is not ComfyUI: it has no {missing[0]}{inside}",
            remedy="Correct 'comfy' in the spec; if ComfyUI lies in a folder there, name it as "
            "'subdir'.",
        )


def _title(tree: Tree) -> str:
    return tree.name if isinstance(tree, CustomNode) else "the core"


def _previous_tree(tree: Tree, previous: Lock | None) -> LockedTree | None:
    """What the previous lock has for the same question. A folder is always looked at anew."""
    if previous is None or tree.kind == "folder":
        return None
    asked = (tree.repo, tree.ref, tree.subdir)
    return next(
        (
            known
            for known in (previous.comfy, *previous.custom_nodes)
            if (known.repo, known.ref, known.subdir) == asked
            and tree.commit in (None, known.commit)
        ),
        None,
    )


def _locked(pinned: _Pinned) -> LockedTree:
    tree, fetched = pinned.tree, pinned.fetched
    return LockedTree(
        repo=tree.repo,
        ref=tree.ref,
        commit=pinned.commit,
        subdir=tree.subdir,
        tree_hash=fetched.tree_hash,
        submodules=[
            Submodule(path=item.path, repo=item.repo, commit=item.commit)
            for item in fetched.submodules
        ],
    )
