"""Spec → lock: refs to commits, requirements to hashes, models to sha256 and size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from packaging.version import Version

from comfy_errors import ComfyError, InvalidInputError, MismatchError, UnavailableError
from runpod_comfy.lock.install_scripts import require_install_scripts
from runpod_comfy.lock.model import Base, Lock, LockedNode, LockedTree, PythonLock, Submodule
from runpod_comfy.lock.models import lock_models, require_models
from runpod_comfy.lock.python import DEFAULT_PLATFORMS, DEFAULT_PYTHON, lock_python
from runpod_comfy.lock.requirements import CORE
from runpod_comfy.lock.upgrade import NO_UPGRADE, Upgrade
from runpod_comfy.sources.at_once import at_once
from runpod_comfy.sources.git import warn_of_foreign_commit
from runpod_comfy.sources.kinds import source_of
from runpod_comfy.sources.tree import FetchedTree, Surroundings, TreeRequest
from runpod_comfy.spec.digest import spec_digest
from runpod_comfy.spec.load import LoadedSpec
from runpod_comfy.spec.model import CustomNode, Options, Spec, Tree
from runpod_comfy.spec.write import CORE_PLACE, TreePlace

_CORE_FILES = ("main.py", "folder_paths.py")


@dataclass(frozen=True, kw_only=True)
class _Pinned:
    """A tree of the spec with its files in the cache."""

    tree: Tree
    commit: str
    fetched: FetchedTree


def resolve(
    loaded: LoadedSpec,
    *,
    surroundings: Surroundings,
    previous: Lock | None,
    upgrade: Upgrade = NO_UPGRADE,
) -> Lock:
    """The lock of a spec. Pins of `previous` are kept where the spec still asks for them, but for
    those that `upgrade` lets go.

    Raises InvalidInputError, UnavailableError, MismatchError or OperationFailedError, each with
    the tree, requirement or model that it is about; what is not there is named all at once.
    """
    spec = loaded.spec
    known_models = upgrade.kept_models(previous)
    core, *nodes = _fetch_all(loaded, surroundings, previous, upgrade)
    _refuse_what_is_no_core(core)
    require_install_scripts(
        {
            node.name: pinned.fetched.path
            for node, pinned in _pairs(spec, nodes)
            if node.name in spec.options.run_install_scripts
        }
    )
    python = _unchanged_python(spec, core, nodes, previous, upgrade)
    if python is None:
        python = _solve(spec, core, nodes, surroundings, upgrade.kept_python(previous))
    models = lock_models(
        spec.models, known_models, spec_folder=loaded.path.parent, say=surroundings.say
    )
    return Lock(
        lock_version=1,
        version_id=spec.version_id,
        spec_digest=spec_digest(spec),
        comfy=_locked(core),
        custom_nodes=[
            LockedNode(name=node.name, **dict(_locked(pinned)))
            for node, pinned in _pairs(spec, nodes)
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
    loaded: LoadedSpec, surroundings: Surroundings, previous: Lock | None, upgrade: Upgrade
) -> list[_Pinned]:
    """The core and the nodes. The models are looked for as well, so that all that is missing is
    told together, before the long work."""
    spec = loaded.spec

    def fetch(item: tuple[TreePlace, Tree]) -> _Pinned | ComfyError:
        place, tree = item
        known = _previous_tree(tree, previous)
        keep = not (upgrade.everything or place in upgrade.trees)
        try:
            return _fetch(tree, surroundings, known, keep_pin=keep)
        except ComfyError as error:
            return error

    places: list[tuple[TreePlace, Tree]] = [(CORE_PLACE, spec.comfy)]
    found = at_once(fetch, places + list(enumerate(spec.custom_nodes)))
    errors = [each for each in found if isinstance(each, ComfyError)]
    try:
        require_models(spec.models, upgrade.kept_models(previous), loaded.path.parent)
    except ComfyError as error:
        errors.append(error)
    if errors:
        raise _as_one(errors)
    return [each for each in found if isinstance(each, _Pinned)]


def _as_one(errors: Sequence[ComfyError]) -> ComfyError:
    """One error for several things that are not there; what is wrong otherwise goes first."""
    wrong = [error for error in errors if not isinstance(error, UnavailableError)]
    if wrong or len(errors) == 1:
        return (wrong or errors)[0]
    return UnavailableError(
        f"{len(errors)} things are not there: " + "; ".join(error.message for error in errors),
        remedy=" ".join(dict.fromkeys(error.remedy for error in errors if error.remedy)),
    )


def _fetch(
    tree: Tree, surroundings: Surroundings, known: LockedTree | None, *, keep_pin: bool
) -> _Pinned:
    request = TreeRequest(repo=tree.repo, ref=tree.ref, commit=tree.commit, subdir=tree.subdir)
    source = source_of(tree.kind)
    kept = known.commit if known and keep_pin else None
    commit = tree.commit or kept or source.pin(request, surroundings)
    pinned = TreeRequest(repo=tree.repo, ref=tree.ref, commit=commit, subdir=tree.subdir)
    surroundings.say(f"Fetching {_title(tree)} at {commit.removeprefix('sha256:')[:12]}")
    fetched = source.fetch(pinned, surroundings)
    if tree.kind == "git" and tree.commit and not known:
        # Told once: from now on the lock holds this commit, and it is not asked for again.
        warn_of_foreign_commit(pinned, surroundings)
    if known and known.commit == commit and known.tree_hash != fetched.tree_hash:
        raise MismatchError(
            f"{tree.repo} at {commit} has the files {fetched.tree_hash}, "
            f"but the lock knows them as {known.tree_hash}",
            remedy="The source gave other bytes for the same commit; find out why before going on.",
        )
    return _Pinned(tree=tree, commit=commit, fetched=fetched)


def _unchanged_python(
    spec: Spec,
    core: _Pinned,
    nodes: Sequence[_Pinned],
    previous: Lock | None,
    upgrade: Upgrade,
) -> PythonLock | None:
    """The distributions of `previous` if nothing that decides them has changed since.

    Nobody is asked then: an index that has lost or withdrawn a release changes no lock, and a new
    model or variable in the spec needs no index.
    """
    if previous is None or upgrade.everything or upgrade.distributions:
        return None
    trees = [(node.name, known.fetched.tree_hash) for node, known in _pairs(spec, nodes)]
    known_trees = [(node.name, node.tree_hash) for node in previous.custom_nodes]
    same_trees = trees == known_trees and core.fetched.tree_hash == previous.comfy.tree_hash
    return previous.python if same_trees and _answers(previous.python, spec.options) else None


def _solve(
    spec: Spec,
    core: _Pinned,
    nodes: Sequence[_Pinned],
    surroundings: Surroundings,
    known: PythonLock | None,
) -> PythonLock:
    folders = {f"node:{node.name}": pinned.fetched.path for node, pinned in _pairs(spec, nodes)}
    try:
        return lock_python(
            [(CORE, core.fetched.path), *folders.items()],
            options=spec.options,
            previous=known,
            surroundings=surroundings,
        )
    except UnavailableError as error:
        if not surroundings.offline:
            raise
        raise UnavailableError(
            error.message, remedy="Run the command once without --offline."
        ) from error


def _answers(python: PythonLock, options: Options) -> bool:
    """Whether distributions that were pinned before are what these options ask for."""
    asked = (
        options.python or DEFAULT_PYTHON,
        list(options.platforms or DEFAULT_PLATFORMS),
        options.torch.index,
        options.constraints,
        options.overrides,
    )
    pinned = (
        python.version,
        python.platforms,
        python.torch_index,
        python.constraints,
        python.overrides,
    )
    wanted = options.torch.version
    torch = [Version(item.version).public for item in python.torch if item.name == "torch"]
    return asked == pinned and (
        wanted is None
        or all(version == wanted or version.startswith(f"{wanted}.") for version in torch)
    )


def _pairs(spec: Spec, nodes: Sequence[_Pinned]) -> list[tuple[CustomNode, _Pinned]]:
    return list(zip(spec.custom_nodes, nodes, strict=True))


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
