"""The models of a lock on this machine: stored, and linked to where the core looks.

What the store has is trusted by its name: bytes are checked when they enter it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from comfy_errors import UnavailableError, for_each
from comfy_errors.names import listed
from comfy_files.progress import Progress, Say
from comfy_models.links import ModelFolders, ModelLink, missing_links
from comfy_models.model_file import ModelFile
from comfy_models.prove import bring, is_lacking
from comfy_models.search import local_files, local_path
from comfy_models.verify import HashMemory, store_memory
from runpod_comfy.lock.model import LockedModel
from runpod_comfy.sources.model_hosts import model_hosts


def memory_of(folders: ModelFolders) -> HashMemory:
    """What is known of the files in these folders, where the store's names are trusted."""
    return store_memory(folders.store, folders.shared, trusts_stores=True)


def models_to_bring(models: Sequence[LockedModel], folders: ModelFolders) -> list[LockedModel]:
    """The models that are neither in the store nor in the models folder."""
    memory = memory_of(folders)
    lacking = [model for model in models if is_lacking(model, folders, memory)]
    memory.save()
    return lacking


def without_source(
    models: Sequence[LockedModel], base_dir: Path, *, offline: bool = False
) -> list[LockedModel]:
    """The models that are not on this machine and cannot come from elsewhere, as `offline` none
    can. Asks no host.
    """
    found = for_each(lambda model: (model, local_files(model, base_dir)), models)
    return [
        model
        for model, paths in found
        if (offline or len(paths) == len(model.sources))
        and not any(path.is_file() for path in paths)
    ]


def refuse_missing_sources(models: Sequence[LockedModel], base_dir: Path) -> None:
    """Raises UnavailableError for all models `without_source`."""
    missing = [
        f"{model.name} ({local_files(model, base_dir)[0]})"
        for model in without_source(models, base_dir)
    ]
    if missing:
        raise UnavailableError(
            f"missing model files: {listed(missing, at_most=20)}",
            remedy="Put them there, or correct 'source' in the spec and resolve again.",
        )


def bring_models(
    models: Sequence[LockedModel],
    folders: ModelFolders,
    *,
    base_dir: Path,
    offline: bool = False,
    say: Say,
    progress: Progress,
) -> list[str]:
    """Fetches missing models into the store; returns their names. Offline, only files of this
    machine are sources.

    Raises as `comfy_models.transfer.fetch` does, and as `refuse_missing_sources`.
    """
    wanted = models_to_bring(models, folders)
    refuse_missing_sources(wanted, base_dir)
    if offline:
        wanted = [_from_here(model, base_dir) for model in wanted]

    def fetch(lacking: Sequence[ModelFile]) -> None:
        from comfy_models.transfer.fetch import fetch

        fetch(
            lacking,
            folders.store,
            model_hosts(base_dir, say=say),
            say=say,
            progress=progress,
            remember=memory.keep,
        )

    memory = memory_of(folders)
    bring(wanted, folders.store, memory, fetch)
    return [model.name for model in wanted]


def _from_here(model: LockedModel, base_dir: Path) -> LockedModel:
    sources = [each for each in model.sources if local_path(each.url, base_dir) is not None]
    return model.model_copy(update={"sources": sources})


def links_to_make(models: Sequence[LockedModel], folders: ModelFolders) -> list[ModelLink]:
    """The missing links of store → models folder → home. Changes nothing.

    Names all models that cannot be linked: raises MismatchError if another file is at a model's
    path, and InvalidInputError if that path is outside its folder.
    """
    memory = memory_of(folders)
    return list(
        chain.from_iterable(for_each(lambda model: missing_links(model, folders, memory), models))
    )


def link_models(links: Sequence[ModelLink], models: Sequence[LockedModel]) -> list[str]:
    """Makes the links; returns the names of their models."""
    for link in links:
        link.make()
    linked = {link.model.target_path for link in links}
    return [model.name for model in models if model.target_path in linked]


def model_changes(
    models: Sequence[LockedModel], folders: ModelFolders, *, relink: bool, may_be_whole: bool
) -> tuple[list[LockedModel], list[str]]:
    """The models to fetch, and the names of those that are not where the core looks.

    Only sizes are compared; this is not a verification. With `relink` all models are named. With
    `may_be_whole` nothing is fetched if all models are in place.
    """
    links = [model.name for model in models if relink or not _is_linked(model, folders)]
    return ([] if may_be_whole and not links else models_to_bring(models, folders)), links


def _is_linked(model: LockedModel, folders: ModelFolders) -> bool:
    try:
        return ((folders.home or folders.shared) / model.target_path).stat().st_size == model.size
    except OSError:
        return False
