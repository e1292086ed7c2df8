"""Fills volumes: each model lies at `models/<target_path>` of each, where workers look for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from comfy_errors import ComfyError, Faults
from comfy_errors.names import quantity
from comfy_files.parallel import in_parallel
from comfy_files.progress import UNSEEN, Progress, Say, say_nothing
from comfy_models.model_file import ModelFile
from comfy_models.proof import Report
from comfy_models.prove import bring
from comfy_models.sources.hosts import Hosts
from comfy_models.store import ModelStore
from comfy_models.transfer.fetch import fetch
from comfy_models.verify import fault_of, store_memory
from comfy_models.volumes.bucket import Bucket
from comfy_models.volumes.record import Record
from comfy_models.volumes.volume import Volume
from comfy_models.volumes.volume_file import VolumeFile, VolumeState

_ASKED_AT_ONCE, _READ_AT_ONCE, _FILES_AT_ONCE = 16, 4, 4


@dataclass(frozen=True, kw_only=True)
class Filled:
    """`models` are in the order of the volumes, and for each in that of the models. `error` is why
    not all of them hold.
    """

    models: tuple[VolumeFile, ...]
    error: ComfyError | None = None

    def report(self) -> Report:
        models = quantity(len({one.model.target_path for one in self.models}), "model")
        volumes = quantity(len({one.volume for one in self.models}), "volume")
        return Report(
            about=f"{models} on {volumes}",
            found=self.models,
            states=get_args(VolumeState),
            keys=("volume",),
            columns=("state", "volume", "target_path", "size"),
            error=self.error,
        )


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
    # One that is named twice is filled once.
    distinct = list(dict.fromkeys(volumes))
    opened = in_parallel(lambda volume: _opened(volume, hosts), distinct)
    files = [VolumeFile(*each, model) for each in opened for model in models]
    in_parallel(VolumeFile.look, files, threads=_ASKED_AT_ONCE)
    unread = [file for file in files if file.is_unread]
    progress.expect("hashed", count=len(unread), size_bytes=sum(it.model.size for it in unread))
    records, faults = [record for _, record in opened], Faults()
    try:
        in_parallel(lambda file: file.read_back(progress), unread, threads=_READ_AT_ONCE)
        lacks = {"missing", "wrong"} if overwrite else {"missing"}
        lacking = [file for file in files if file.state in lacks]
        _bring(lacking, store, hosts, say, progress, faults)
    finally:
        # An interruption does not cost what was read before.
        faults.each(Record.save, records)
    for error in (file.error for file in files if file.error is not None):
        faults.add(error)
    return Filled(models=tuple(files), error=faults.error)


def _opened(volume: Volume, hosts: Hosts) -> tuple[Bucket, Record]:
    bucket = Bucket(volume, hosts)
    bucket.require()
    return bucket, Record(bucket)


def _bring(
    lacking: Sequence[VolumeFile],
    store: ModelStore,
    hosts: Hosts,
    say: Say,
    progress: Progress,
    faults: Faults,
) -> None:
    """Sends what can be brought into the store; `faults` collects why some cannot."""
    memory = store_memory(store)

    def is_stored(model: ModelFile) -> bool:
        path = store.path_of(model.sha256)
        return store.holds(model.sha256) and fault_of(path, model, memory) is None

    def fetch_missing(missing: Sequence[ModelFile]) -> None:
        fetch(missing, store, hosts, say=say, progress=progress, remember=memory.keep)

    # Once for all volumes. Two models may be the same file, each with sources of its own.
    models = list({(it.model.sha256, it.model.target_path): it.model for it in lacking}.values())
    stored = in_parallel(is_stored, models, threads=_FILES_AT_ONCE)
    needed = [model for model, is_here in zip(models, stored, strict=True) if not is_here]
    faults.catch(bring, needed, store, memory, fetch_missing)
    ready = [file for file in lacking if is_stored(file.model)]
    memory.save()
    progress.expect("uploaded", count=len(ready), size_bytes=sum(it.model.size for it in ready))
    in_parallel(lambda file: file.upload(store, progress), ready, threads=_FILES_AT_ONCE)
