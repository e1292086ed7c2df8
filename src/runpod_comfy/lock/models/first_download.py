"""Downloads models whose sha256 no host tells into the store, and learns it."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from comfy_errors import ComfyError, MismatchError, together
from comfy_files.files import disk_errors, write_hashed
from comfy_files.parallel import in_parallel, interrupted
from comfy_files.progress import Progress, Say, counted
from comfy_http.redaction import without_secrets
from comfy_http.retries import retried
from comfy_models.formats import fault_of_file
from comfy_models.model_file import ModelSource
from comfy_models.sources.errors import ChangedError, NotAModelError
from comfy_models.sources.hosts import Hosts
from comfy_models.sources.kinds import source_for
from comfy_models.store import ModelStore
from comfy_models.transfer.claim import Claim, claimed
from comfy_models.transfer.place import unhashed_in_store
from comfy_models.verify import store_memory
from runpod_comfy.lock.model import UnhashedModel
from runpod_comfy.lock.models.pin_changes import change_of_pin

_AT_ONCE = 4
_CHUNK_BYTES = 1 << 20
_OTHER_STORE = (
    "Make room there and check its permissions, or set COMFY_CACHE_MODELS to a folder that you can "
    "write to."
)


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """A file in the store: its sha256 (64 hex digits) and its size in bytes."""

    sha256: str
    size: int


def download_unhashed(
    models: Sequence[UnhashedModel],
    store: ModelStore,
    hosts: Hosts,
    *,
    say: Say,
    progress: Progress,
) -> list[StoredFile]:
    """What each model is, once it is in the store.

    Raises one error for all models that no source gives.
    """
    memory = store_memory(store)
    sizes = [model.size or 0 for model in models]
    progress.expect("models", count=len(models), size_bytes=sum(sizes))

    def download(model: UnhashedModel) -> StoredFile:
        stored = _from_any(model, store, hosts, say, progress)
        memory.keep(store.path_of(stored.sha256), stored.sha256)
        progress.arrived("models", count=1)
        return stored

    with disk_errors(f"the model store {store.root} could not be written", remedy=_OTHER_STORE):
        return in_parallel(download, models, threads=_AT_ONCE)


def _from_any(
    model: UnhashedModel, store: ModelStore, hosts: Hosts, say: Say, progress: Progress
) -> StoredFile:
    faults: list[ComfyError] = []
    for one in model.sources:
        key = f"unhashed-{hashlib.sha256(one.model_dump_json().encode()).hexdigest()}"
        place = unhashed_in_store(store, key)
        with claimed(place, title=model.target_path, say=say) as claim:
            assert claim is not None, "its final name is not known"
            try:
                fill = partial(_fill, model, one, claim, hosts, progress)
                return retried(fill, url=one.url, say=say)
            except ComfyError as error:
                faults.append(error)
                place.discard()
    raise together(faults).within(f"model {model.name}")


def _fill(
    model: UnhashedModel, one: ModelSource, claim: Claim, hosts: Hosts, progress: Progress
) -> StoredFile:
    shown, place = without_secrets(one.url), claim.place
    source = source_for(one.url, hosts, one.pin)
    if change := change_of_pin(one.pin, source.pin().pin):
        what, before, now = change
        raise ChangedError(
            f"{shown} has another file than when it was pinned: its {what} is {now}, not {before}",
            remedy=f"Accept it with: runpod-comfy resolve <id> --upgrade {model.name}",
        )
    os.ftruncate(claim.descriptor, 0)
    with (
        contextlib.closing(source.open(0, None)) as stream,
        os.fdopen(os.dup(claim.descriptor), "wb") as target,
    ):
        chunks = _chunks(stream.read)
        sha256, size = write_hashed(counted(chunks, "models", progress), target)
    if model.size not in (None, size):
        raise MismatchError(
            f"{shown} has {size} bytes, not {model.size}", remedy="Resolve the version again."
        )
    if model.sha256 not in (None, sha256):
        raise MismatchError(
            f"{shown} has sha256 {sha256}, the spec says {model.sha256}",
            remedy="Correct 'source' or 'checksum' in the spec.",
        )
    if fault := fault_of_file(place.partial, model.target_path):
        raise NotAModelError(f"{shown} {fault}", remedy="Correct 'source' in the spec.")
    place.put(sha256, claim.descriptor)
    return StoredFile(sha256=sha256, size=size)


def _chunks(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while chunk := read(_CHUNK_BYTES):
        if interrupted():
            raise KeyboardInterrupt
        yield chunk
