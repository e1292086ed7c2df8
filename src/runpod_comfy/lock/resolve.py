"""Spec → lock: refs to commits, requirements to hashes, models to sha256 and size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from comfy_errors import ComfyError, Faults, UnavailableError
from comfy_home.lock_bytes import LOCK_VERSION
from comfy_models.store import ModelStore
from comfy_models.verify import store_memory
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext, TreeStore
from runpod_comfy.lock.fetch import require_install_scripts
from runpod_comfy.lock.model import Base, Lock, LockedNode, LockedTree, PythonLock
from runpod_comfy.lock.models.pin import PinnedFile, lock_models, pin_models
from runpod_comfy.lock.python.pins import is_asked, lock_python, read_asked, require_python
from runpod_comfy.lock.python.torch_family import cuda_of
from runpod_comfy.lock.requirements.read import CORE
from runpod_comfy.lock.trees import (
    PinnedTree,
    pin_trees,
    refuse_unknown_arguments,
    refuse_what_is_no_core,
)
from runpod_comfy.lock.upgrade import NO_UPGRADE, Upgrade
from runpod_comfy.sources.model_hosts import model_hosts
from runpod_comfy.spec.load import LoadedSpec, spec_digest
from runpod_comfy.spec.model import Options


def resolve(
    loaded: LoadedSpec,
    *,
    fetch_context: FetchContext,
    previous: Lock | None,
    upgrade: Upgrade = NO_UPGRADE,
    timeout_s: float | None = None,
) -> Lock:
    """The lock of a spec. Pins of `previous` are kept if the spec still asks for them, except those
    that `upgrade` releases. A host of models may be silent for `timeout_s` seconds.

    Raises InvalidInputError, UnavailableError, MismatchError or OperationFailedError, each naming
    the tree, requirement or model; everything that is missing is reported at once.
    """
    spec = loaded.spec
    (core, *nodes), model_files = _all_pinned(loaded, fetch_context, previous, upgrade, timeout_s)
    refuse_what_is_no_core(core)
    refuse_unknown_arguments(spec.options.comfy_args, core.fetched.path)
    folders = {
        node.name: pinned.fetched.path
        for node, pinned in zip(spec.custom_nodes, nodes, strict=True)
    }
    require_install_scripts({name: folders[name] for name in spec.options.run_install_scripts})
    memory = store_memory(ModelStore(fetch_context.cache.models))
    models = lock_models(model_files, memory, fetch_context.say)
    locked_nodes = [node.locked for node in nodes if isinstance(node.locked, LockedNode)]
    trees = [(CORE, core.fetched.path), *((f"node:{name}", p) for name, p in folders.items())]
    hashes = [tree.tree_hash for tree in (core.locked, *locked_nodes)]
    python = _unchanged_python(
        dict(zip(trees, hashes, strict=True)), spec.options, previous, upgrade, fetch_context.cache
    )
    if python is None:
        python = _solve(trees, spec.options, fetch_context, upgrade.kept_python(previous))
    return Lock(
        lock_version=LOCK_VERSION,
        version_id=spec.version_id,
        spec_digest=spec_digest(spec),
        comfy=core.locked,
        custom_nodes=locked_nodes,
        python=python,
        models=models.models,
        unhashed_models=models.unhashed,
        base=Base(image=spec.options.base, system_packages=spec.options.system_packages),
        env=spec.env,
        comfy_args=spec.options.comfy_args,
        run_install_scripts=spec.options.run_install_scripts,
        import_needs=spec.options.import_needs,
        allow_pickle=spec.options.allow_pickle,
        user=spec.options.user,
        writable_environment=spec.options.writable_environment or None,
        epoch=max(pinned.fetched.epoch for pinned in (core, *nodes)),
    )


def _all_pinned(
    loaded: LoadedSpec,
    fetch_context: FetchContext,
    previous: Lock | None,
    upgrade: Upgrade,
    timeout_s: float | None,
) -> tuple[list[PinnedTree], list[PinnedFile]]:
    """The core and the nodes, and the files of the models. Python is looked for too, so that
    everything missing is reported together, before the long work.
    """
    spec = loaded.spec
    found = pin_trees(spec, previous, upgrade, fetch_context)
    model_files, of_models = pin_models(
        spec,
        upgrade.kept_models(previous),
        model_hosts(loaded.path.parent, timeout_s=timeout_s, say=fetch_context.say),
        offline=fetch_context.offline,
        say=fetch_context.say,
    )
    faults = Faults([*(each for each in found if isinstance(each, ComfyError)), *of_models])
    faults.catch(require_python, spec.options.python)
    faults.raise_all()
    return [each for each in found if isinstance(each, PinnedTree)], model_files


def _unchanged_python(
    trees: Mapping[tuple[str, Path], str],
    options: Options,
    previous: Lock | None,
    upgrade: Upgrade,
    cache: Cache,
) -> PythonLock | None:
    """The Python part of `previous` if trees and options ask for the same as then, else None.
    `trees` maps each one's `(name, folder)` to its hash.

    Then no index is contacted: a release that was removed or yanked changes no lock, and a new
    model or variable in the spec or an edit of a node's code needs no index
    (docs/decisions/008-kept-pins.md).
    """
    if previous is None or upgrade.everything or upgrade.distributions:
        return None
    names = [CORE, *(f"node:{node.name}" for node in previous.custom_nodes)]
    if [name for name, _ in trees] != names or not is_asked(previous.python, options):
        return None
    for (tree, found), known in zip(trees.items(), previous.trees, strict=True):
        if found != known.tree_hash and not _asks_as_before(tree, known, options, cache):
            return None
    # A lock of an earlier program does not have it.
    return previous.python.model_copy(update={"cuda": cuda_of(previous.python.torch)})


def _asks_as_before(
    tree: tuple[str, Path], known: LockedTree, options: Options, cache: Cache
) -> bool:
    """True if a tree's requirements are unchanged; False if its old files are gone."""
    before = TreeStore(cache=cache).find(known.request)
    name, folder = tree
    return before is not None and (
        read_asked([(name, before.path)], options) == read_asked([(name, folder)], options)
    )


def _solve(
    trees: Sequence[tuple[str, Path]],
    options: Options,
    fetch_context: FetchContext,
    known: PythonLock | None,
) -> PythonLock:
    try:
        return lock_python(trees, options=options, previous=known, fetch_context=fetch_context)
    except UnavailableError as error:
        if not fetch_context.offline:
            raise
        raise UnavailableError(
            error.message, remedy="Run the command once without --offline."
        ) from error
