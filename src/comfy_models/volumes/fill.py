"""Fills volumes: each model lies at `models/<target_path>` of each, where workers look for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from comfy_errors import ComfyError, together
from comfy_files.parallel import in_parallel
from comfy_files.progress import UNSEEN, Progress, Say, say_nothing
from comfy_models.model_file import ModelFile
from comfy_models.prove import bring
from comfy_models.sources.hosts import Hosts
from comfy_models.store import ModelStore
from comfy_models.transfer.fetch import fetch
from comfy_models.verify import fault_of, store_memory
from comfy_models.volumes.bucket import Bucket
from comfy_models.volumes.place import Place, VolumeModel
from comfy_models.volumes.record import Record
from comfy_models.volumes.volume import Volume

_ASKED_AT_ONCE, _READ_AT_ONCE, _FILES_AT_ONCE = 16, 4, 4


@dataclass(frozen=True, kw_only=True)
class Filled:
    """`models` are in the order of the volumes, and for each in that of the models. `error` is why
    not all of them hold.
    """

    models: tuple[VolumeModel, ...]
    error: ComfyError | None = None


def fill_volumes(
    models: Sequence[ModelFile],
    volumes: Sequence[Volume],
    store: ModelStore,
    hosts: Hosts,
    *,
    overwrite: bool = False,
    say: Say = say_nothing,
    progress: Progress = UNSEEN,
) -> Filled:
    """Brings the models to the volumes that lack them, through the store, which is only needed for
    those.

    A file whose size is right and whose sha256 is not known is read back. Another file in the place
    of a model is left alone unless `overwrite` is true. Raises AccessDeniedError, GoneError and
    UnavailableError for volumes that cannot be used; nothing has been sent then.
    """
    places = [
        Place(bucket, record, model)
        for bucket, record in in_parallel(lambda volume: _opened(volume, hosts), volumes)
        for model in models
    ]
    in_parallel(Place.look, places, threads=_ASKED_AT_ONCE)
    unread = [place for place in places if place.state is None]
    progress.expect("hashed", count=len(unread), size_bytes=sum(it.model.size for it in unread))
    in_parallel(lambda place: place.read_back(progress), unread, threads=_READ_AT_ONCE)
    lacking = [it for it in places if it.state == "missing" or (overwrite and it.state == "wrong")]
    errors = _bring(lacking, store, hosts, say, progress)
    errors += [place.error for place in places if place.error is not None]
    return Filled(
        models=tuple(place.result() for place in places),
        error=together(errors) if errors else None,
    )


def _opened(volume: Volume, hosts: Hosts) -> tuple[Bucket, Record]:
    bucket = Bucket(volume, hosts)
    bucket.require()
    return bucket, Record(bucket)


def _bring(
    lacking: Sequence[Place], store: ModelStore, hosts: Hosts, say: Say, progress: Progress
) -> list[ComfyError]:
    """Sends what can be brought into the store. Gives the errors of what cannot."""
    memory = store_memory(store)

    def is_stored(model: ModelFile) -> bool:
        path = store.path_of(model.sha256)
        return store.holds(model.sha256) and fault_of(path, model, memory) is None

    def fetch_missing(missing: Sequence[ModelFile]) -> None:
        fetch(missing, store, hosts, say=say, progress=progress, remember=memory.keep)

    models = list({place.model.sha256: place.model for place in lacking}.values())
    stored = in_parallel(is_stored, models, threads=_FILES_AT_ONCE)
    needed = [model for model, is_here in zip(models, stored, strict=True) if not is_here]
    errors: list[ComfyError] = []
    try:
        bring(needed, store, memory, fetch_missing)
    except ComfyError as error:
        errors.append(error)
    ready = [place for place in lacking if is_stored(place.model)]
    memory.save()
    progress.expect("uploaded", count=len(ready), size_bytes=sum(it.model.size for it in ready))
    in_parallel(lambda place: place.upload(store, progress), ready, threads=_FILES_AT_ONCE)
    return errors
