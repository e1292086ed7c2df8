"""The request of a realization, and the context of its steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from comfy_files.progress import UNSEEN, Progress, Say, say_nothing
from comfy_models.links import ModelFolders
from comfy_models.store import ModelStore
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.homes.environment import Package
from runpod_comfy.homes.home import Home
from runpod_comfy.homes.stand_ins import StandIn
from runpod_comfy.layers.plan import Layer
from runpod_comfy.lock.model import Lock


@dataclass(frozen=True, kw_only=True)
class Realization:
    """A lock, its target, and its sources.

    Relative sources are based on `base_dir`, the spec's folder. `models_dir` is the shared models
    folder, None for the home's own. If `wheels_dir` is given, packages only come from there.
    `progress` counts what has arrived. Scripts' output goes to `show` as it arrives, and to their
    logs.
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
    def model_folders(self) -> ModelFolders:
        return ModelFolders(
            store=ModelStore(self.cache.models),
            shared=(self.models_dir or self.home.models).absolute(),
            home=self.home.models,
        )

    @property
    def fetch_context(self) -> FetchContext:
        return FetchContext(
            cache=self.cache, base_dir=self.base_dir, offline=self.offline, say=self.say
        )


@dataclass(frozen=True, kw_only=True)
class LayerContext:
    """The inputs of a realization's scripts.

    `venv` is the Python environment, `logs` the folder for output. `packages` are what they
    install, `stand_ins` the wheels that they install for sdists, `trees` the fetched trees by hash,
    `lock_fds` the locks of the home and the cache, which a script holds while it runs.
    """

    job: Realization
    venv: Path
    logs: Path
    packages: Sequence[Package]
    stand_ins: Sequence[StandIn] = ()
    trees: Mapping[str, Path] = field(default_factory=dict)
    lock_fds: tuple[int, ...]

    @property
    def check_report(self) -> Path:
        return self.logs / "check-report.json"

    def log_of(self, layer: Layer) -> Path:
        return self.logs / f"{layer.name.replace(':', '-')}.log"
