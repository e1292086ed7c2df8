"""What a realization would do and how much room it needs. Looks, and touches nothing."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comfy_errors import OperationFailedError
from comfy_home.manifest import Manifest
from runpod_comfy.cache.paths import Cache
from runpod_comfy.layers.layer import Layer, TreeInput
from runpod_comfy.layers.plan import Plan
from runpod_comfy.lock.model import Lock, LockedModel
from runpod_comfy.realize.environment.packages import NeededFile, needed_files
from runpod_comfy.realize.home import Home
from runpod_comfy.realize.prepare.models import ModelPlaces, are_linked, models_to_bring
from runpod_comfy.realize.prepare.outdated_layers import INSTALL_PREFIX, gone_nodes, outdated_layers

# Measured on the 83 packages of ComfyUI 0.3.75 with CUDA torch: bytes on disk for each byte of
# a wheel, and bytes of bytecode for each byte of an unpacked package.
_UNPACKED = 1.9
_BYTECODE = 0.04


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What `realize` would do to a home.

    `trees` are (layer, repo, commit); `packages` the files that the Python layers take,
    `models` those that have to be brought, `links` the models that are not where the core looks.
    Layers are given by name.
    """

    layers: tuple[str, ...]
    kept_layers: tuple[str, ...]
    trees: tuple[tuple[str, str, str], ...]
    packages: tuple[NeededFile, ...]
    models: tuple[LockedModel, ...]
    links: tuple[str, ...]
    removed_nodes: tuple[str, ...]

    @property
    def is_nothing(self) -> bool:
        return not (self.layers or self.models or self.links or self.removed_nodes)

    @property
    def download_bytes(self) -> int:
        """Bytes of distributions that are in no cache, as far as the lock knows sizes."""
        return sum(file.size_bytes or 0 for file in self.packages if not file.cached)

    @property
    def unpacked_bytes(self) -> int:
        """Bytes of distributions that uv has yet to unpack."""
        return sum(file.size_bytes or 0 for file in self.packages if not file.unpacked)

    @property
    def model_bytes(self) -> int:
        return sum(model.size for model in self.models)


def estimate(
    lock: Lock, plan: Plan, manifest: Manifest | None, places: ModelPlaces, cache: Cache
) -> Estimate:
    """Compares the plan with the home and with the caches."""
    pending = outdated_layers(plan, manifest, places.home)
    groups = {"torch": lock.python.torch, "wheels": lock.python.wheels}
    distributions = [each for layer in pending for each in groups.get(layer.name, ())]
    packages = needed_files(distributions, python=lock.python.version, cache=cache)
    names = {layer.name for layer in pending}
    moved = manifest is not None and manifest.models_dir not in (None, str(places.models_dir))
    return Estimate(
        layers=tuple(layer.name for layer in pending),
        kept_layers=tuple(layer.name for layer in plan.layers if layer.name not in names),
        trees=tuple(_trees(pending)),
        packages=tuple(packages),
        models=tuple(models_to_bring(lock.models, places)),
        links=tuple(
            model.name for model in lock.models if moved or not are_linked([model], places.home)
        ),
        removed_nodes=tuple(gone_nodes(plan, manifest)),
    )


def _trees(layers: Sequence[Layer]) -> list[tuple[str, str, str]]:
    return [
        (layer.name, each.tree.repo, each.tree.commit)
        for layer in layers
        for each in layer.inputs
        if isinstance(each, TreeInput)
    ]


def require_room(expected: Estimate, home: Home, places: ModelPlaces, cache: Cache) -> None:
    """Raises OperationFailedError if the estimate needs more bytes than a disk has free."""
    unpacked = _UNPACKED * sum(file.size_bytes or 0 for file in expected.packages)
    to_home = _BYTECODE * unpacked
    to_cache = _UNPACKED * expected.unpacked_bytes
    # An environment that install scripts may write to is the home's own.
    private = any(name.startswith(INSTALL_PREFIX) for name in expected.layers)
    if private or _device(home.root) != _device(cache.uv):
        to_home += unpacked
    needs = [
        (home.root, to_home),
        (cache.uv, to_cache),
        (places.store.root, float(expected.model_bytes)),
    ]
    for device in {_device(folder) for folder, _ in needs}:
        here = [(folder, size) for folder, size in needs if _device(folder) == device]
        needed = sum(size for _, size in here)
        free = shutil.disk_usage(_existing(here[0][0])).free
        if needed > free:
            raise OperationFailedError(
                f"about {gigabytes(needed)} are needed below {here[0][0]}, "
                f"but only {gigabytes(free)} are free there",
                remedy="Make room, or name other folders with --target and COMFY_CACHE_ROOT.",
            )


def gigabytes(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:.1f} GB"


def _device(folder: Path) -> int:
    return _existing(folder).stat().st_dev


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())
