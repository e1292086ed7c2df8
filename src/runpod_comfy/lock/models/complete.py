"""Completes a lock: the sha256 of models that no host tells is learnt at their first download."""

from __future__ import annotations

from comfy_errors.names import listed, quantity
from comfy_files.progress import UNSEEN, Progress, Say
from comfy_models.sources.hosts import Hosts
from comfy_models.store import ModelStore
from runpod_comfy.lock.model import Lock, LockedModel, UnhashedModel
from runpod_comfy.lock.models.first_download import StoredFile, download_unhashed


def hash_models(
    lock: Lock, store: ModelStore, hosts: Hosts, *, say: Say, progress: Progress = UNSEEN
) -> Lock:
    """`lock` with all of its models in `models`. Its `unhashed_models` are in the store then.

    Raises one error for all models that no source gives.
    """
    unhashed = lock.unhashed_models
    if not unhashed:
        return lock
    say(f"Downloading {in_words(unhashed)}: nothing else tells the sha256")
    stored = download_unhashed(unhashed, store, hosts, say=say, progress=progress)
    models = list(lock.models)
    hashed = sorted(zip(unhashed, stored, strict=True), key=lambda item: item[0].index)
    for model, file in hashed:
        models.insert(model.index, _locked(model, file))
    return lock.model_copy(update={"models": models, "unhashed_models": []})


def in_words(models: list[UnhashedModel]) -> str:
    return f"{quantity(len(models), 'model')} ({listed([model.name for model in models])})"


def _locked(model: UnhashedModel, file: StoredFile) -> LockedModel:
    return LockedModel(
        name=model.name,
        sources=model.sources,
        sha256=file.sha256,
        size=file.size,
        target_path=model.target_path,
        format=model.format,
        hashed_on_download=True if model.sha256 is None else None,
    )
