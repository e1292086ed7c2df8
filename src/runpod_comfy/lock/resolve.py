"""Spec → lock: refs to commits, requirements to hashes, models to sha256 and size."""

from __future__ import annotations

from collections.abc import Sequence

from comfy_errors import ComfyError, UnavailableError
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.lock.install_scripts import require_install_scripts
from runpod_comfy.lock.model import Base, Lock, LockedNode, PythonLock
from runpod_comfy.lock.models import lock_models, require_models
from runpod_comfy.lock.python.kept_pins import unchanged_python
from runpod_comfy.lock.python.pins import lock_python
from runpod_comfy.lock.requirements.read import CORE
from runpod_comfy.lock.trees import PinnedTree, pin_trees, refuse_what_is_no_core
from runpod_comfy.lock.upgrade import NO_UPGRADE, Upgrade
from runpod_comfy.spec.digest import spec_digest
from runpod_comfy.spec.load import LoadedSpec
from runpod_comfy.spec.model import CustomNode, Spec


def resolve(
    loaded: LoadedSpec,
    *,
    fetch_context: FetchContext,
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
    core, *nodes = _all_pinned(loaded, fetch_context, previous, upgrade)
    refuse_what_is_no_core(core)
    require_install_scripts(
        {
            node.name: pinned.fetched.path
            for node, pinned in _pairs(spec, nodes)
            if node.name in spec.options.run_install_scripts
        }
    )
    python = unchanged_python(spec, core, nodes, previous, upgrade)
    if python is None:
        python = _solve(spec, core, nodes, fetch_context, upgrade.kept_python(previous))
    models = lock_models(
        spec.models, known_models, spec_folder=loaded.path.parent, say=fetch_context.say
    )
    return Lock(
        lock_version=1,
        version_id=spec.version_id,
        spec_digest=spec_digest(spec),
        comfy=core.locked(),
        custom_nodes=[
            LockedNode(name=node.name, **dict(pinned.locked()))
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


def _all_pinned(
    loaded: LoadedSpec, fetch_context: FetchContext, previous: Lock | None, upgrade: Upgrade
) -> list[PinnedTree]:
    """The core and the nodes. The models are looked for as well, so that all that is missing is
    told together, before the long work."""
    found = pin_trees(loaded.spec, previous, upgrade, fetch_context)
    errors = [each for each in found if isinstance(each, ComfyError)]
    try:
        require_models(loaded.spec.models, upgrade.kept_models(previous), loaded.path.parent)
    except ComfyError as error:
        errors.append(error)
    if errors:
        raise _as_one(errors)
    return [each for each in found if isinstance(each, PinnedTree)]


def _as_one(errors: Sequence[ComfyError]) -> ComfyError:
    """One error for several things that are not there; what is wrong otherwise goes first."""
    wrong = [error for error in errors if not isinstance(error, UnavailableError)]
    if wrong or len(errors) == 1:
        return (wrong or errors)[0]
    return UnavailableError(
        f"{len(errors)} things are not there: " + "; ".join(error.message for error in errors),
        remedy=" ".join(dict.fromkeys(error.remedy for error in errors if error.remedy)),
    )


def _solve(
    spec: Spec,
    core: PinnedTree,
    nodes: Sequence[PinnedTree],
    fetch_context: FetchContext,
    known: PythonLock | None,
) -> PythonLock:
    folders = {f"node:{node.name}": pinned.fetched.path for node, pinned in _pairs(spec, nodes)}
    try:
        return lock_python(
            [(CORE, core.fetched.path), *folders.items()],
            options=spec.options,
            previous=known,
            fetch_context=fetch_context,
        )
    except UnavailableError as error:
        if not fetch_context.offline:
            raise
        raise UnavailableError(
            error.message, remedy="Run the command once without --offline."
        ) from error


def _pairs(spec: Spec, nodes: Sequence[PinnedTree]) -> list[tuple[CustomNode, PinnedTree]]:
    return list(zip(spec.custom_nodes, nodes, strict=True))
