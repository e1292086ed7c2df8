"""Fetches models: several at once, each from the first of its sources that has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from comfy_errors import ComfyError, Faults
from comfy_files.files import disk_errors
from comfy_files.parallel import in_parallel
from comfy_files.progress import UNSEEN, Progress, Say, say_nothing
from comfy_files.space import require_room
from comfy_models.model_file import ModelFile
from comfy_models.sources.hosts import Hosts
from comfy_models.store import ModelStore
from comfy_models.transfer.delivery import deliver
from comfy_models.transfer.place import OTHER_FOLDER, OTHER_STORE, Place, in_store, outside_store
from comfy_models.transfer.traffic import FILES_AT_ONCE, Traffic

Remember = Callable[[Path, str], object]
"""Is given the path and the sha256 of a file that was just proven while it was written."""

Failed = Callable[[ModelFile, ComfyError], object]
"""Is given a model that no source gave, and why."""


def fetch(
    models: Sequence[ModelFile],
    store: ModelStore,
    hosts: Hosts,
    *,
    say: Say = say_nothing,
    progress: Progress = UNSEEN,
    remember: Remember = lambda _path, _sha256: None,
    failed: Failed = lambda _model, _error: None,
) -> None:
    """Brings the models that the store does not hold into it.

    Raises one error for all models that no source gives.
    """
    store.settle()
    wanted = [(model, in_store(store, model.sha256)) for model in models]
    with disk_errors(f"the model store {store.root} could not be written", remedy=OTHER_STORE):
        _fetch(wanted, hosts, say, progress, OTHER_STORE, remember, failed)


def fetch_to(
    places: Sequence[tuple[ModelFile, Path]],
    hosts: Hosts,
    *,
    say: Say = say_nothing,
    progress: Progress = UNSEEN,
) -> None:
    """As `fetch`, to a path for each model, outside any store. Existing files are kept."""
    wanted = [(model, outside_store(path, model.sha256)) for model, path in places]
    with disk_errors("the models could not be written", remedy=OTHER_FOLDER):
        _fetch(wanted, hosts, say, progress, OTHER_FOLDER)


def _fetch(
    wanted: Sequence[tuple[ModelFile, Place]],
    hosts: Hosts,
    say: Say,
    progress: Progress,
    remedy: str,
    remember: Remember = lambda _path, _sha256: None,
    failed: Failed = lambda _model, _error: None,
) -> None:
    # Two models may be the same file, each with sources of its own.
    by_path: dict[Path, tuple[list[ModelFile], Place]] = {}
    for model, place in wanted:
        by_path.setdefault(place.path_of(model.sha256), ([], place))[0].append(model)
    missing = [(models, place) for models, place in by_path.values() if not place.is_done()]
    require_room(
        [(place.work, models[0].size - place.written_bytes) for models, place in missing],
        remedy=remedy,
    )
    size_bytes = sum(models[0].size for models, _ in missing)
    progress.expect("models", count=len(missing), size_bytes=size_bytes)
    traffic = Traffic(hosts, say=say, progress=progress)

    def bring(item: tuple[list[ModelFile], Place]) -> None:
        models, place = item
        faults = Faults()
        for model in models:
            try:
                deliver(model, place, traffic)
            except ComfyError as error:
                faults.add(error)
            else:
                remember(place.path_of(model.sha256), model.sha256)
                progress.arrived("models", count=1)
                return
        if faults.error is not None:
            failed(models[0], faults.error)
        faults.raise_all()

    in_parallel(bring, missing, threads=FILES_AT_ONCE)
