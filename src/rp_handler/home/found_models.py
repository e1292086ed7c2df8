"""Where each model of a version is, among all the places that it may be in."""

from __future__ import annotations

from collections.abc import Sequence

from comfy_files.parallel import HASHING_THREADS, in_parallel
from comfy_files.progress import UNSEEN, Progress
from comfy_home.manifest import ManifestModel
from comfy_models.search import ModelPlaces
from comfy_models.verify import HashMemory, fault_of
from rp_handler.home.missing_models import Look


def look_for(
    models: Sequence[ManifestModel],
    places: ModelPlaces,
    memory: HashMemory,
    *,
    always_hash: bool = False,
    progress: Progress = UNSEEN,
) -> list[Look]:
    """Where each model is. All cores hash; with `always_hash` also what is remembered."""

    def look(model: ManifestModel) -> Look:
        found, read = Look(model=model), 0

        def counted(size_bytes: int) -> None:
            nonlocal read
            read += size_bytes
            progress.arrived("hashed", size_bytes=size_bytes)

        for path in places.candidates(model):
            fault = fault_of(path, model, memory, always_hash=always_hash, counted=counted)
            if fault is None:
                found = Look(model=model, path=path, is_known=not read)
                break
            if fault != "does not exist":
                found = found.but(f"{path} {fault}")
        if read:
            # An interruption does not cost what was hashed before.
            memory.save()
        progress.arrived("hashed", count=1, size_bytes=max(0, model.size - read))
        return found

    size_bytes = sum(model.size for model in models)
    progress.expect("hashed", count=len(models), size_bytes=size_bytes)
    return in_parallel(look, models, threads=HASHING_THREADS)
