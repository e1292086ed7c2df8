"""What a realization is asked for, and what its steps work with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from comfy_files.progress import UNSEEN, Progress, Say, say_nothing
from comfy_models.store import ModelStore
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.homes.environment import Package
from runpod_comfy.homes.home import Home
from runpod_comfy.homes.models import ModelPlaces
from runpod_comfy.layers.plan import Layer
from runpod_comfy.lock.model import Lock


@dataclass(frozen=True, kw_only=True)
class Realization:
    """A lock, where it goes, and from what.

    `base_dir` is the folder of the spec, which relative sources are from. `models_dir` is the
    shared models folder, None for the home's own. `wheels_dir` is the only place that packages
    come from, if given. `progress` counts what arrives. Scripts' output goes to `show` as it
    comes, besides to their logs.
    """

    lock: Lock
    target: Path
    base_dir: Path
    cache: Cache
    models_dir: Path | None = None
    wheels_dir: Path | None = None
    offline: bool = False
    say: Say = say_nothing
    progress: Progress = UNSEEN
    show: BinaryIO | None = None

    @property
    def home(self) -> Home:
        return Home(root=self.target.absolute())

    @property
    def places(self) -> ModelPlaces:
        return ModelPlaces(
            store=ModelStore(self.cache.models),
            models_dir=(self.models_dir or self.home.models).absolute(),
            home=self.home,
        )

    @property
    def fetch_context(self) -> FetchContext:
        return FetchContext(
            cache=self.cache, base_dir=self.base_dir, offline=self.offline, say=self.say
        )


@dataclass(frozen=True, kw_only=True)
class LayerContext:
    """What the scripts of a realization are given.

    `venv` is where the Python environment lies, `logs` where output goes. `packages` are what they
    install, `trees` the fetched trees by hash, `lock_fds` the locks of the home and of the cache,
    which a script keeps for as long as it runs.
    """

    job: Realization
    venv: Path
    logs: Path
    packages: Sequence[Package]
    trees: Mapping[str, Path] = field(default_factory=dict)
    lock_fds: tuple[int, ...]

    @property
    def check_report(self) -> Path:
        return self.logs / "check-report.json"

    def log_of(self, layer: Layer) -> Path:
        return self.logs / f"{layer.name.replace(':', '-')}.log"
