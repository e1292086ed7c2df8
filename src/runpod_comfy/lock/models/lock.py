"""The models of a lock: what their hosts promise about every file, and its sha256 if they tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from comfy_errors import ComfyError, for_each
from comfy_files.parallel import in_parallel
from comfy_files.progress import Say
from comfy_models.formats import format_of
from comfy_models.hashing import hash_files
from comfy_models.sources.hosts import Hosts
from comfy_models.verify import HashMemory
from runpod_comfy.lock.model import LockedModel, UnhashedModel
from runpod_comfy.lock.models.asked import (
    AskedFile,
    KnownModel,
    asked_file,
    faults_of_pickles,
    faults_of_places,
)
from runpod_comfy.lock.models.folder import asked_files_of_folder
from runpod_comfy.lock.models.pin import PinnedFile, pin_files
from runpod_comfy.spec.model import Model, Spec


@dataclass(frozen=True, kw_only=True)
class LockedModels:
    """The models of a lock, in the order of the spec; those that are `unhashed` have an index."""

    models: list[LockedModel]
    unhashed: list[UnhashedModel]


def pin_models(
    spec: Spec,
    known: Sequence[KnownModel],
    hosts: Hosts,
    *,
    offline: bool,
    say: Say,
) -> tuple[list[PinnedFile], list[ComfyError]]:
    """Every model file of the spec, in its order, with what its hosts report; and an error for each
    that is missing, cannot be pinned, or is not what the spec or the lock says.

    Pins in `known` are kept.
    """

    def files_of(model: Model) -> list[AskedFile] | ComfyError:
        try:
            if model.is_folder:
                return asked_files_of_folder(model, known, hosts, offline=offline)
        except ComfyError as error:
            return error
        return [asked_file(model, known)]

    found = in_parallel(files_of, spec.models)
    errors = [each for each in found if isinstance(each, ComfyError)]
    files = [file for each in found if not isinstance(each, ComfyError) for file in each]
    errors += faults_of_places(files)
    errors += faults_of_pickles(files, spec.options.allow_pickle)
    pinned, unpinned = pin_files(files, hosts, offline=offline, say=say)
    return pinned, [*errors, *unpinned]


def lock_models(pinned: Sequence[PinnedFile], memory: HashMemory, say: Say) -> LockedModels:
    """The models with what `pin_models` found, once all files on this machine are hashed.

    Raises MismatchError for one that is not what the spec, the lock or another source says.
    """
    here = {path: file.asked.name for file in pinned for path in file.here.values()}
    hashes = hash_files(here, memory, say)
    agreed = for_each(lambda file: file.agreed(hashes), pinned)
    locked = LockedModels(models=[], unhashed=[])
    for index, (file, (sha256, size)) in enumerate(zip(pinned, agreed, strict=True)):
        fields: dict[str, Any] = {
            "name": file.asked.name,
            "sources": file.sources,
            "sha256": sha256,
            "size": size,
            "target_path": file.asked.place,
            "format": format_of(file.asked.place),
        }
        if None in (sha256, size):
            locked.unhashed.append(UnhashedModel(**fields, index=index))
        else:
            locked.models.append(LockedModel(**fields, hashed_on_download=_was_downloaded(file)))
    return locked


def _was_downloaded(file: PinnedFile) -> bool | None:
    """True if only the previous lock has the sha256, and has it from a download."""
    known = file.asked.known
    is_told = file.asked.sha256 or any(each.sha256 for each in file.told.values()) or file.here
    is_of_download = isinstance(known, LockedModel) and known.hashed_on_download
    return True if is_of_download and not is_told else None
