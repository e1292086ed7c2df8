"""Where each model of a version is, among all the places that it may be in; and what to say about
those that were not found: where they were searched for, and what lies elsewhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from comfy_errors import ComfyError
from comfy_files.parallel import HASHING_THREADS, in_parallel
from comfy_files.progress import UNSEEN, Progress
from comfy_home.manifest import ManifestModel
from comfy_http.redaction import without_secrets
from comfy_models.elsewhere import Found, usual_settings
from comfy_models.search import ModelPlaces
from comfy_models.verify import HashMemory, fault_of
from rp_handler.errors import ModelsNotThereError

_MOUNT = (
    "Mount a folder with them and set MODELS_DIR "
    "(docker run -v FOLDER:/models -e MODELS_DIR=/models …), or set COMFY_MISSING_MODELS to "
    "download or ignore."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look:
    """The result of searching for a model: its path, or None and the faults of files found.

    `is_known` is true if its hash was remembered, `is_new` if it was brought there just now.
    `elsewhere` are files in places that are not searched.
    """

    model: ManifestModel
    path: Path | None = None
    is_known: bool = False
    is_new: bool = False
    faults: tuple[str, ...] = ()
    elsewhere: tuple[Found, ...] = ()

    @property
    def described(self) -> str:
        return f"{self.model.target_path} ({self.model.size} bytes, sha256:{self.model.sha256})"

    def but(self, fault: str) -> Look:
        return dataclasses.replace(self, faults=(*self.faults, fault))

    def with_elsewhere(self, found: Sequence[Found], places: ModelPlaces) -> Look:
        """With those of the files found that are about this model and in none of its places."""
        known = set(places.candidates(self.model))
        mine = (one for one in found if one.model is self.model and one.path not in known)
        return dataclasses.replace(self, elsewhere=tuple(mine))


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


def missing_error(
    missing: Sequence[Look],
    places: ModelPlaces,
    *,
    version_id: str | None,
    failure: ComfyError | None = None,
) -> ModelsNotThereError | None:
    """The error that names every missing model, the places looked in, files found elsewhere, and
    the `failure` to download them.
    """
    if not missing:
        return None
    looked_in = [str(one) for one in (*places.folders, *places.stores, *places.hub_caches)]
    named = [place if Path(place).is_dir() else f"{place} (does not exist)" for place in looked_in]
    return ModelsNotThereError(
        f'Missing models of the version "{version_id}":{missing_lines(missing, places)}\n'
        f"Looked in {', '.join(named)}.{_downloading(failure)}",
        remedy=finding_remedy(missing, otherwise=_MOUNT),
        details={
            "models": [
                {
                    "target_path": look.model.target_path,
                    "sha256": look.model.sha256,
                    "size": look.model.size,
                    "source": _first_source(look.model),
                    "faults": list(look.faults),
                    "elsewhere": [str(one.path) for one in look.elsewhere if one.fault is None],
                }
                for look in missing
            ],
            "looked_in": looked_in,
            "download": failure.message if failure else None,
        },
    )


def _downloading(failure: ComfyError | None) -> str:
    if failure is None:
        return ""
    return (
        f"\nThey could not be downloaded: {failure.message.rstrip('.')}. {failure.remedy}".rstrip()
    )


def missing_lines(missing: Sequence[Look], places: ModelPlaces) -> str:
    """For each model an indented line, and below it one for each reason and each file elsewhere."""
    lines = []
    for look in missing:
        elsewhere = (_in_words(found, places) for found in look.elsewhere)
        lines += [f"  {look.described}", *(f"    {it}" for it in (*look.faults, *elsewhere))]
    return "".join("\n" + line.replace("\n", "\n    ") for line in lines)


def finding_remedy(missing: Sequence[Look], *, otherwise: str) -> str:
    """How the files found elsewhere are found, or what to do `otherwise`."""
    found = [one for look in missing for one in look.elsewhere if one.fault is None]
    settings = [f"{name}={value}" for name, value in usual_settings(found).items()]
    steps = [f"Set {' and '.join(settings)}."] if settings else []
    if any(one.setting is None for one in found):
        steps.append("Move the files that were found to where they belong.")
    return " ".join([*steps, f"Or: {otherwise[0].lower()}{otherwise[1:]}" if steps else otherwise])


def _in_words(found: Found, places: ModelPlaces) -> str:
    """The fault of a file found elsewhere, or what to do with it."""
    if found.fault is not None or found.setting is not None:
        return found.in_words
    around = (folder for folder in places.folders if found.path.is_relative_to(folder))
    there = (folder for folder in places.folders if folder.is_dir())
    folder = next(around, None) or next(there, None)
    where = f"; it belongs at {folder / found.model.target_path}" if folder else ""
    return f"{found.in_words}{where}"


def _first_source(model: ManifestModel) -> str | None:
    return without_secrets(model.sources[0].url) if model.sources else None
