"""What `realize` would do to a home, and how much space that takes. Read-only."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from comfy_errors import Faults, InvalidInputError
from comfy_files.progress import when_slow
from comfy_files.space import disk_of, require_room
from comfy_home.manifest import Manifest
from runpod_comfy.homes.environment import Package, needed_packages
from runpod_comfy.homes.home import Home, Realization, nodes_of_start
from runpod_comfy.homes.models import model_changes
from runpod_comfy.layers.plan import (
    ENVIRONMENT,
    INSTALL_PREFIX,
    NODE_PREFIX,
    Layer,
    Plan,
)
from runpod_comfy.lock.model import LockedModel

# Measured on the 83 packages of ComfyUI 0.3.75 with CUDA torch: bytes on disk for each byte of
# a wheel, and bytes of bytecode for each byte of an unpacked package.
_UNPACKED = 1.9
_BYTECODE = 0.04


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What has to be done to a home. `manifest` is its current one.

    `pending` are the layers to make, in order, `kept` the names of the others. `packages` are what
    the pending layers install, `models` those to fetch, `links` the names of models that are not
    where the core looks. `is_nothing` is true for a complete home.
    """

    manifest: Manifest | None
    pending: tuple[Layer, ...] = ()
    kept: tuple[str, ...]
    packages: tuple[Package, ...] = ()
    models: tuple[LockedModel, ...] = ()
    links: tuple[str, ...] = ()
    removed_nodes: tuple[str, ...] = ()
    is_nothing: bool = False

    @property
    def model_bytes(self) -> int:
        return sum(model.size for model in self.models)


def find_changes(job: Realization, plan: Plan, manifest: Manifest | None) -> Changes:
    """Compares the plan with the home, whose marker is `manifest`, and with the caches.

    Raises InvalidInputError if a node's folder is occupied by something this program did not make.
    """
    lock, folders = job.lock, job.model_folders
    done = manifest.layers if manifest else {}
    planned = {layer.name for layer in plan.layers}
    pending = _outdated_layers(
        plan, manifest, job.home, is_writable=bool(lock.writable_environment)
    )
    _refuse_unmanaged_nodes(pending, done, job.home)
    models_dir = str(folders.shared)
    is_whole = (
        manifest is not None
        and manifest.complete
        and (manifest.lock_digest, manifest.models_dir) == (lock.digest, models_dir)
        and not pending
    )
    distributions = [each for layer in pending for each in layer.distributions(lock.python)]
    packages = needed_packages(distributions, python=lock.python.version, cache=job.cache)
    with when_slow(job.say, f"Comparing the models in {models_dir} with the lock"):
        models, links = model_changes(
            lock.models,
            folders,
            relink=manifest is not None and manifest.models_dir not in (None, models_dir),
            may_be_whole=is_whole,
        )
    return Changes(
        manifest=manifest,
        pending=tuple(pending),
        kept=tuple(layer.name for layer in plan.layers if layer not in pending),
        packages=tuple(packages),
        models=tuple(models),
        links=tuple(links),
        removed_nodes=tuple(
            name.removeprefix(NODE_PREFIX)
            for name in done
            if name.startswith(NODE_PREFIX) and name not in planned
        ),
        is_nothing=is_whole and not links,
    )


def require_space(job: Realization, changes: Changes) -> None:
    """Raises OperationFailedError if the changes need more space than a disk has."""
    home, uv = job.home.root, job.cache.uv
    unpacked = _UNPACKED * sum(each.size_bytes for each in changes.packages)
    to_home = _BYTECODE * unpacked
    # An environment that install scripts or the engine may write to belongs to the home alone.
    private = job.lock.writable_environment or any(
        layer.kind == "install" for layer in changes.pending
    )
    if private or disk_of(home) != disk_of(uv):
        to_home += unpacked
    to_unpack = sum(each.size_bytes for each in changes.packages if not each.unpacked)
    require_room(
        [
            (home, to_home),
            (uv, _UNPACKED * to_unpack),
            (job.model_folders.store.root, changes.model_bytes),
        ],
        remedy="Free some space, or use other folders with --target and COMFY_CACHE_ROOT.",
    )


def places_of(layer_names: Iterable[str], home: Home) -> list[Path]:
    """The paths in the home that show that these layers exist."""
    return [place for name in layer_names if (place := _left_by(name, home)) is not None]


def _outdated_layers(
    plan: Plan, manifest: Manifest | None, home: Home, *, is_writable: bool
) -> list[Layer]:
    """The layers to make, in order: those without their key in the manifest, or whose folder is
    gone. The two that share the Python environment are made together, from scratch, because a
    half-replaced package cannot be told from a whole one. For the same reason all layers are made
    together if an install script has run or will run. A writable environment is made again with
    every other layer: the engine may have changed it.
    """
    planned = {layer.name for layer in plan.layers}
    done = manifest.layers if manifest else {}
    pending = {
        layer.name
        for layer in plan.layers
        if done.get(layer.name) != layer.key or not _is_there(layer, manifest, home)
    }
    was_writable = manifest is not None and manifest.writable_environment
    if manifest is not None and (was_writable != is_writable or (is_writable and pending)):
        pending.update((*ENVIRONMENT, "check"))
    if not pending.isdisjoint(ENVIRONMENT):
        pending.update(ENVIRONMENT)
    if "core" in pending:
        # Some cores have their own extra_model_paths.yaml, which overwrites the one made here.
        pending.add("models")
    installs = {name for name in (*planned, *done) if name.startswith(INSTALL_PREFIX)}
    if (installs and pending - {"check"}) or installs - planned:
        # A script may have written anywhere.
        pending = planned
    return [layer for layer in plan.layers if layer.name in pending]


def _is_there(layer: Layer, manifest: Manifest | None, home: Home) -> bool:
    if layer.kind == "check" and not _is_checked(manifest):
        return False
    left = _left_by(layer.name, home)
    return left is None or left.exists()


def _is_checked(manifest: Manifest | None) -> bool:
    """True if there was a check, and this machine meets no needs of nodes that were unmet then."""
    if manifest is None or manifest.check is None:
        return False
    then = set(manifest.check.unmet_needs)
    return not then or not set(manifest.needs_unmet_here(os.environ)) < then


def _left_by(layer_name: str, home: Home) -> Path | None:
    if layer_name.startswith(NODE_PREFIX):
        return home.custom_nodes / layer_name.removeprefix(NODE_PREFIX)
    leaves = {
        "torch": home.python,
        "wheels": home.python,
        "core": home.comfyui / "main.py",
        "models": home.comfyui / "extra_model_paths.yaml",
        "check": home.object_info,
    }
    return leaves.get(layer_name)


def _refuse_unmanaged_nodes(pending: Iterable[Layer], done: Iterable[str], home: Home) -> None:
    made = nodes_of_start(home)
    faults = Faults()
    for layer in pending:
        folder = home.custom_nodes / layer.name.removeprefix(NODE_PREFIX)
        is_known = layer.name in done or folder.name in made
        if layer.kind == "node" and not is_known and os.path.lexists(folder):
            faults.add(
                InvalidInputError(
                    f"{folder} already exists and was not made for this version; it was left alone",
                    remedy="Move it away, or delete it if you do not need it, or give the node "
                    "another name in the spec.",
                )
            )
    faults.raise_all()
