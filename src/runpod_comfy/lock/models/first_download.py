"""The first download of models whose sha256 no host tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from comfy_errors import ComfyError, MismatchError, together
from comfy_files.parallel import in_parallel
from comfy_files.progress import Progress, Say
from comfy_http.redaction import without_secrets
from comfy_models.model_file import ModelSource
from comfy_models.sources.errors import ChangedError
from comfy_models.sources.hosts import Hosts
from comfy_models.sources.kinds import asked
from comfy_models.store import ModelStore
from comfy_models.transfer.traffic import FILES_AT_ONCE
from comfy_models.transfer.unhashed import fetch_unhashed
from comfy_models.verify import store_memory
from runpod_comfy.lock.model import LockedModel, UnhashedModel
from runpod_comfy.lock.models.pin_changes import change_of_pin


def download_unhashed(
    models: Sequence[UnhashedModel],
    store: ModelStore,
    hosts: Hosts,
    *,
    upgrade: str,
    say: Say,
    progress: Progress,
    failed: Callable[[UnhashedModel, ComfyError], object] | None = None,
) -> list[LockedModel | None]:
    """Each model with its sha256, once it is in the store.

    A model that no source gives as it was pinned is None, and `failed` gets it; without `failed`,
    one error for all of them is raised. `upgrade` is the command that accepts another file, without
    the model's name.
    """
    memory = store_memory(store)
    size_bytes = sum(model.size or 0 for model in models)
    progress.expect("models", count=len(models), size_bytes=size_bytes)

    def from_source(model: UnhashedModel, one: ModelSource) -> LockedModel:
        told = asked(one.url, hosts, one.pin)
        # There is no sha256 that would show that it is another file than when it was pinned.
        if change := change_of_pin(one.pin, told.pin):
            raise _changed(model, one, *change, upgrade)
        _require_agreement(model, one, told.sha256, told.size, upgrade)
        sha256, size = fetch_unhashed(
            one,
            store,
            hosts,
            target_path=model.target_path,
            say=say,
            progress=progress,
            remember=memory.keep,
        )
        _require_agreement(model, one, sha256, size, upgrade)
        return _locked(model, sha256, size)

    def download(model: UnhashedModel) -> LockedModel | None:
        faults: list[ComfyError] = []
        for one in model.sources:
            try:
                locked = from_source(model, one)
            except ComfyError as error:
                faults.append(error)
            else:
                progress.arrived("models", count=1)
                return locked
        fault = together(faults).within(f"model {model.target_path}")
        if failed is None:
            raise fault
        failed(model, fault)
        return None

    return in_parallel(download, models, threads=FILES_AT_ONCE)


def _locked(model: UnhashedModel, sha256: str, size: int) -> LockedModel:
    return LockedModel(
        name=model.name,
        sources=model.sources,
        sha256=sha256,
        size=size,
        target_path=model.target_path,
        format=model.format,
        hashed_on_download=True if model.sha256 is None else None,
    )


def _changed(
    model: UnhashedModel, one: ModelSource, what: str, before: str, now: str, upgrade: str
) -> ChangedError:
    return ChangedError(
        f"{without_secrets(one.url)} has another file than when it was pinned: its {what} is "
        f"{now}, not {before}",
        remedy=f"Accept it with: {upgrade} {model.name}",
    )


def _require_agreement(
    model: UnhashedModel, one: ModelSource, sha256: str | None, size: int | None, upgrade: str
) -> None:
    claims = (("size in bytes", model.size, size), ("sha256", model.sha256, sha256))
    for what, expected, found in claims:
        if None not in (expected, found) and expected != found:
            raise MismatchError(
                f"{without_secrets(one.url)} has the {what} {found}, not {expected}",
                remedy="Correct 'checksum' in the spec, or 'source'."
                if what == "sha256"
                else f"Correct 'source' in the spec, or accept it with: {upgrade} {model.name}",
            )
