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
from rp_handler.home.found_models import Look, finding_remedy, look_for, missing_lines
from rp_handler.home.model_search import ModelSearch, is_mounted, leads_into, volume_of
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

    @property
    def volume(self) -> Path | None:
        """What other machines see of the folder; None for a home's own, which is of this one."""
        return None if self.folder == self.search.own else volume_of(self.folder)


def verify_models(job: ModelsJob) -> Proof:
    """Whether the folder has every model, or for a home's own, whether a worker here finds them.

    Changes nothing.
    """
    memory = HashMemory(job.search.memory_files, trusts_stores=False)
    if job.volume is None:
        looks = _look(job, job.search.places, memory)
    else:
        looks = _look_in_folder(job, memory)
    looks = _with_others(job, looks, memory)
    memory.save()
    return _proof(job, looks, _missing(job, looks))


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
    looks, error = _look_in_folder(job, memory), None
    missing = [look.model for look in looks if look.path is None]
    if missing:
        away = look_for(missing, job.search.places, memory)
        found = _elsewhere(job, missing, memory)
        copies = {one.model.target_path: one.path for one in found if one.is_right}
        copies |= {look.model.target_path: look.path for look in away if look.path}
        supply = Supply(
            folder=folder, volume=job.volume, hosts=hosts, copies=copies, overwrite=overwrite
        )
        looks, error = supply.bring(looks, memory, say=job.say, progress=job.progress)
    memory.save()
    return _proof(job, looks, error)


def _look(job: ModelsJob, places: ModelPlaces, memory: HashMemory) -> list[Look]:
    models = job.home.manifest.models
    return look_for(models, places, memory, always_hash=job.rehash, progress=job.progress)


def _look_in_folder(job: ModelsJob, memory: HashMemory) -> list[Look]:
    """Where each model is in the folder, without links that lead out of its volume."""
    here = ModelPlaces(folders=[job.folder], stores=(), hub_caches=())
    volume = job.volume
    looks = _look(job, here, memory)
    return looks if volume is None else [_inside(look, volume) for look in looks]


def _inside(look: Look, volume: Path) -> Look:
    if look.path is None or leads_into(look.path, volume):
        return look
    leads = f"{look.path} leads to {look.path.resolve()}, out of {volume}"
    return Look(model=look.model).but(leads)


def _with_others(job: ModelsJob, looks: Sequence[Look], memory: HashMemory) -> list[Look]:
    """The looks; those without a path say where else the model is."""
    missing = [look.model for look in looks if look.path is None]
    if not missing:
        return list(looks)
    found = _elsewhere(job, missing, memory)
    away = {it.model.target_path: it.path for it in look_for(missing, job.search.places, memory)}
    return [
        look if look.path else _with_other(job, look, away[look.model.target_path], found)
        for look in looks
    ]


def _with_other(job: ModelsJob, look: Look, away: Path | None, found: Sequence[Found]) -> Look:
    """`away` is where a worker here would find the model; no setting brings that to the volume."""
    look = look.with_elsewhere(found, job.search.places)
    if away in (None, job.folder / look.model.target_path):
        return look
    return look.but(f"{away} is the right file, but not in {job.folder}")


def _elsewhere(job: ModelsJob, models: Sequence[ManifestModel], memory: HashMemory) -> list[Found]:
    with when_slow(job.say, "Looking for missing models in other folders."):
        return find_elsewhere(models, job.search.roots, memory)


def _missing(job: ModelsJob, looks: Sequence[Look]) -> ComfyError | None:
    """The error that names all models without a path, and what lies elsewhere."""
    missing = [look for look in looks if look.path is None]
    if not missing:
        return None
    places = job.search.places
    fill = f"Fill {job.folder} with: models sync"
    return MismatchError(
        f"{len(missing)} of {quantity(len(looks), 'model')} are missing or wrong:"
        f"{missing_lines(missing, places)}",
        remedy=finding_remedy(missing, otherwise=fill),
    )


def _proof(job: ModelsJob, looks: Sequence[Look], error: ComfyError | None) -> Proof:
    return Proof(models=tuple(_proven(job, look) for look in looks), error=error)


def _proven(job: ModelsJob, look: Look) -> ProvenModel:
    path = look.path or job.folder / look.model.target_path
    if look.path is not None:
        state: State = "downloaded" if look.is_new else "present" if look.is_known else "verified"
        return ProvenModel(
            model=look.model, path=path, state=state, linked=look.is_new and path.is_symlink()
        )
    is_there = path.exists() and (job.volume is None or leads_into(path, job.volume))
    return ProvenModel(
        model=look.model,
        path=path,
        state="wrong" if is_there or is_circular(path) else "missing",
        reason="; ".join([*look.faults, *(one.in_words for one in look.elsewhere)]),
    )
