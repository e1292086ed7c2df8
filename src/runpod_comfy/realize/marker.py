"""The marker while a home changes: at each moment it tells no more than what is whole."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from comfy_home.manifest import CheckReport, Manifest, save_manifest
from runpod_comfy.layers.layer import Layer
from runpod_comfy.layers.plan import Plan
from runpod_comfy.lock.manifest import manifest_models
from runpod_comfy.lock.model import Lock
from runpod_comfy.lock.python.torch_family import cuda_on
from runpod_comfy.realize.home import Home

BEGUN = ""
"""In place of a key: the home may hold a part of this layer."""


class Marker:
    """The manifest of one home, written after each step. Several threads may take steps."""

    def __init__(self, home: Home, manifest: Manifest) -> None:
        self._home = home
        self._manifest = manifest
        self._one_at_a_time = threading.Lock()

    @classmethod
    def open(
        cls,
        home: Home,
        earlier: Manifest | None,
        lock: Lock,
        pending: Sequence[Layer],
        *,
        platform: str,
    ) -> Marker:
        """Notes which version the home is becoming, and that `pending` is not to be relied on."""
        layers = dict(earlier.layers) if earlier else {}
        for layer in pending:
            if layer.name in layers:
                layers[layer.name] = BEGUN
        unfinished = Manifest(
            version_id=lock.version_id,
            lock_digest=lock.digest,
            layers=layers,
            env=lock.env,
            comfy_args=lock.comfy_args,
            cuda=cuda_on(lock.python, platform),
            check=earlier.check if earlier else None,
        )
        marker = cls(home, unfinished)
        marker._save()
        return marker

    def begin(self, *layers: Layer) -> None:
        self._set_layers({layer.name: BEGUN for layer in layers})

    def finish(self, *layers: Layer) -> None:
        self._set_layers({layer.name: layer.key for layer in layers})

    def forget(self, layer_name: str) -> None:
        self._set_layers({}, without=layer_name)

    def set_check(self, report: CheckReport) -> None:
        self._manifest = self._manifest.model_copy(update={"check": report})

    def complete(self, lock: Lock, plan: Plan, models_dir: str) -> None:
        """Notes that the home is whole."""
        planned = {layer.name for layer in plan.layers}
        layers = {name: key for name, key in self._manifest.layers.items() if name in planned}
        self._manifest = self._manifest.model_copy(
            update={
                "complete": True,
                "models_dir": models_dir,
                "models": manifest_models(lock),
                "layers": layers,
            }
        )
        self._save()

    def _set_layers(self, changed: Mapping[str, str], *, without: str | None = None) -> None:
        with self._one_at_a_time:
            layers = {**self._manifest.layers, **changed}
            if without is not None:
                layers.pop(without, None)
            self._manifest = self._manifest.model_copy(update={"layers": layers})
            self._save()

    def _save(self) -> None:
        save_manifest(self._home.root, self._manifest)
