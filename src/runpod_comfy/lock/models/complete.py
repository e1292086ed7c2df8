"""Completes a lock: models whose sha256 no host reports are downloaded."""

from __future__ import annotations

from collections.abc import Callable

from comfy_errors import ComfyError
from comfy_errors.names import listed, quantity
from comfy_files.progress import UNSEEN, Progress, Say
from comfy_models.sources.hosts import Hosts
from comfy_models.store import ModelStore
from runpod_comfy.lock.model import Lock, LockedModel, UnhashedModel
from runpod_comfy.lock.models.first_download import download_unhashed


def hash_models(
    lock: Lock,
    store: ModelStore,
    hosts: Hosts,
    *,
    say: Say,
    progress: Progress = UNSEEN,
    failed: Callable[[UnhashedModel, ComfyError], object] | None = None,
) -> Lock:
    """`lock` with all of its models in `models`. Its `unhashed_models` are in the store then.

    `failed` gets each model that no source gives, which stays in `unhashed_models`; without it, one
    error for all of them is raised.
    """
    unhashed = lock.unhashed_models
    if not unhashed:
        return lock
    say(f"Downloading {in_words(unhashed)}, because no host reports the sha256")
    hashed = download_unhashed(
        unhashed,
        store,
        hosts,
        upgrade=f"runpod-comfy resolve {lock.version_id} --upgrade",
        say=say,
        progress=progress,
        failed=failed,
    )
    models: list[LockedModel | None] = list(lock.models)
    pairs = list(zip(unhashed, hashed, strict=True))
    for model, locked in sorted(pairs, key=lambda pair: pair[0].index):
        models.insert(model.index, locked)
    left = [model for model, locked in pairs if locked is None]
    whole = [model for model in models if model is not None]
    return lock.model_copy(update={"models": whole, "unhashed_models": left})


def in_words(models: list[UnhashedModel]) -> str:
    return f"{quantity(len(models), 'model')} ({listed([model.name for model in models])})"
