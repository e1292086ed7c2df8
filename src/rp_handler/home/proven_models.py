"""The models of a version in one folder: verified where a worker finds them, or made complete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comfy_errors import ComfyError, MismatchError, UnavailableError
from comfy_errors.names import quantity
from comfy_files.files import can_write
from comfy_files.progress import Progress, Say, when_slow
from comfy_home.manifest import ManifestModel
from comfy_models.elsewhere import Found, find_elsewhere
from comfy_models.proof import Proof, ProvenModel, State
from comfy_models.search import ModelPlaces
from comfy_models.sources.hosts import Hosts
from comfy_models.verify import HashMemory, is_circular
from rp_handler.home.found_models import look_for
from rp_handler.home.missing_models import Look, finding_remedy, missing_lines
from rp_handler.home.model_search import ModelSearch, is_mounted
from rp_handler.home.realized import Home
from rp_handler.home.supply import Supply


@dataclass(frozen=True, kw_only=True)
class ModelsJob:
    """What to prove: the models of `home`, as `search` says; with `rehash` every byte is read."""

    home: Home
    search: ModelSearch
    rehash: bool
    say: Say
    progress: Progress

    @property
    def folder(self) -> Path:
        """The models folder that `sync` fills: the preferred one whose volume is there."""
        return next(folder for folder in self.search.places.folders if is_mounted(folder))


def verify_models(job: ModelsJob) -> Proof:
    """Whether a worker here finds every model. Changes nothing."""
    memory = HashMemory(job.search.memory_files, trusts_stores=False)
    looks = _look(job, job.search.places, memory)
    error = _missing(job, looks, memory)
    memory.save()
    return _proof(job, looks, error)


def sync_models(job: ModelsJob, hosts: Hosts, *, overwrite: bool) -> Proof:
    """Brings into the folder what it lacks, from this machine if it is here, else from its source.

    With `overwrite`, wrong files there are replaced. Raises UnavailableError if it cannot be
    written.
    """
    folder = job.folder
    if not can_write(folder):
        raise UnavailableError(
            f"{folder} cannot be written",
            remedy="Mount it so that it can, or name another folder with --models-dir.",
        )
    memory = HashMemory(job.search.memory_files, trusts_stores=False)
    here = ModelPlaces(folders=[folder], stores=(), hub_caches=())
    looks, error = _look(job, here, memory), None
    missing = [look.model for look in looks if look.path is None]
    if missing:
        away = look_for(missing, job.search.places, memory)
        found = _elsewhere(job, missing, memory)
        copies = {one.model.target_path: one.path for one in found if one.is_right}
        copies |= {look.model.target_path: look.path for look in away if look.path}
        supply = Supply(folder=folder, hosts=hosts, copies=copies, overwrite=overwrite)
        looks, error = supply.bring(looks, memory, say=job.say, progress=job.progress)
    memory.save()
    return _proof(job, looks, error)


def _look(job: ModelsJob, places: ModelPlaces, memory: HashMemory) -> list[Look]:
    models = job.home.manifest.models
    return look_for(models, places, memory, always_hash=job.rehash, progress=job.progress)


def _elsewhere(job: ModelsJob, models: Sequence[ManifestModel], memory: HashMemory) -> list[Found]:
    with when_slow(job.say, "Looking for missing models in other folders."):
        return find_elsewhere(models, job.search.roots, memory)


def _missing(job: ModelsJob, looks: Sequence[Look], memory: HashMemory) -> ComfyError | None:
    """The error that names all models without a path, and what lies elsewhere."""
    missing = [look for look in looks if look.path is None]
    if not missing:
        return None
    found = _elsewhere(job, [look.model for look in missing], memory)
    places = job.search.places
    missing = [look.with_elsewhere(found, places) for look in missing]
    fill = f"Fill {job.folder} with: models sync"
    return MismatchError(
        f"{len(missing)} of {quantity(len(looks), 'model')} are missing or wrong:"
        f"{missing_lines(missing, places)}",
        remedy=finding_remedy(missing, otherwise=fill),
    )


def _proof(job: ModelsJob, looks: Sequence[Look], error: ComfyError | None) -> Proof:
    return Proof(models=tuple(_proven(job.folder, look) for look in looks), error=error)


def _proven(folder: Path, look: Look) -> ProvenModel:
    path = look.path or folder / look.model.target_path
    if look.path is not None:
        state: State = "downloaded" if look.is_new else "present" if look.is_known else "verified"
        return ProvenModel(
            model=look.model, path=path, state=state, linked=look.is_new and path.is_symlink()
        )
    return ProvenModel(
        model=look.model,
        path=path,
        state="wrong" if path.exists() or is_circular(path) else "missing",
        reason="; ".join(look.faults),
    )
