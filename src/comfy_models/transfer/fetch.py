"""Fetches models: several at once, each from the first of its sources that has it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from comfy_files.parallel import in_parallel
from comfy_files.progress import UNSEEN, Progress, Say, say_nothing
from comfy_models.model_file import ModelFile
from comfy_models.sources.hosts import Hosts
from comfy_models.store import ModelStore
from comfy_models.transfer.delivery import Delivery
from comfy_models.transfer.place import Place, in_store, outside_store

_AT_ONCE = 4


def fetch(
    models: Sequence[ModelFile],
    store: ModelStore,
    hosts: Hosts,
    *,
    say: Say = say_nothing,
    progress: Progress = UNSEEN,
) -> None:
    """Brings the models that the store does not hold into it.

    Raises one error for all models that no source gives.
    """
    _fetch([(model, in_store(store, model.sha256)) for model in models], hosts, say, progress)


def fetch_to(
    places: Sequence[tuple[ModelFile, Path]],
    hosts: Hosts,
    *,
    say: Say = say_nothing,
    progress: Progress = UNSEEN,
) -> None:
    """As `fetch`, to a path for each model, outside any store. Existing files are kept."""
    wanted = [(model, outside_store(path, model.sha256)) for model, path in places]
    _fetch(wanted, hosts, say, progress)


def _fetch(
    wanted: Sequence[tuple[ModelFile, Place]], hosts: Hosts, say: Say, progress: Progress
) -> None:
    missing = [(model, place) for model, place in wanted if not place.final.exists()]
    size_bytes = sum(model.size for model, _ in missing)
    progress.expect("models", count=len(missing), size_bytes=size_bytes)

    def bring(item: tuple[ModelFile, Place]) -> None:
        model, place = item
        Delivery(model, place, hosts, say=say, progress=progress).run()
        progress.arrived("models", count=1)

    in_parallel(bring, missing, threads=_AT_ONCE)
