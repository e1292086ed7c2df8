"""Completes a lock: models whose sha256 no host reports are downloaded."""

from __future__ import annotations

from comfy_errors.names import listed, quantity
from comfy_files.progress import UNSEEN, Progress, Say
from comfy_models.sources.hosts import Hosts
from comfy_models.store import ModelStore
from runpod_comfy.lock.model import Lock, UnhashedModel
from runpod_comfy.lock.models.first_download import download_unhashed


def hash_models(
    lock: Lock, store: ModelStore, hosts: Hosts, *, say: Say, progress: Progress = UNSEEN
) -> Lock:
    """`lock` with all of its models in `models`. Its `unhashed_models` are in the store then.

    Raises one error for all models that no source gives.
    """
    unhashed = lock.unhashed_models
    if not unhashed:
        return lock
    say(f"Downloading {in_words(unhashed)}, because no host reports the sha256")
    hashed = download_unhashed(unhashed, store, hosts, say=say, progress=progress)
    models = list(lock.models)
    pairs = zip(unhashed, hashed, strict=True)
    for model, locked in sorted(pairs, key=lambda pair: pair[0].index):
        models.insert(model.index, locked)
    return lock.model_copy(update={"models": models, "unhashed_models": []})


def in_words(models: list[UnhashedModel]) -> str:
    return f"{quantity(len(models), 'model')} ({listed([model.name for model in models])})"
