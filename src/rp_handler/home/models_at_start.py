"""The models of a home at the start of a container: found, checked, linked, or told as missing."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from comfy_errors import OperationFailedError
from comfy_models.download import download, shown
from comfy_models.memory import HashMemory
from comfy_models.search import ModelPlaces, NeededModel
from comfy_models.verify import fault_of
from rp_handler.errors import ModelsNotThereError
from rp_handler.home.model_search import ModelSearch
from rp_handler.home.realized import Home

_READERS = 4
_DOWNLOADS_AT_ONCE = 2

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look:
    """What came of looking for a model: where it is, or None and the `faults` of what was there."""

    model: NeededModel
    path: Path | None
    faults: tuple[str, ...] = ()


@contextlib.asynccontextmanager
async def models_at_hand(
    home: Home, search: ModelSearch | None, *, say: Say, are_used: bool = True
) -> AsyncIterator[tuple[Home, tuple[str, ...]]]:
    """`home` with every model of its manifest where the engine finds it; and warnings.

    Without `are_used`, missing models are only warned of. The links are gone after the block.
    Raises ModelsNotThereError, which names all that are missing.
    """
    needed = [
        NeededModel(
            target_path=model.target_path,
            sha256=model.sha256,
            size_bytes=model.size,
            source=model.source,
            revision=model.revision,
            mirrors=tuple(model.mirrors),
        )
        for model in home.manifest.models
    ]
    if search is None or not needed:
        yield home, ()
        return
    memory = HashMemory(search.memory_files)
    with tempfile.TemporaryDirectory(prefix="comfy-models-") as folder:
        links = Path(folder, "models")
        looks = await _look_for_all(needed, search, memory)
        if search.on_missing == "download":
            looks = await _download_missing(looks, search.downloads or links, memory, say)
        memory.save()
        error = _missing_error([look for look in looks if look.path is None], home, search.places)
        if error is not None and are_used and search.on_missing != "ignore":
            raise error
        _link(looks, home, links)
        yield (
            dataclasses.replace(home, linked_models=links if links.exists() else None),
            (error.message,) if error else (),
        )


async def _look_for_all(
    needed: Sequence[NeededModel], search: ModelSearch, memory: HashMemory
) -> list[Look]:
    stop = threading.Event()

    def look(model: NeededModel) -> Look:
        faults = []
        for path in search.places.candidates(model):
            fault = fault_of(
                path, model, memory, always_hash=search.always_hash, stopped=stop.is_set
            )
            if fault is None:
                return Look(model=model, path=path)
            if fault != "is not there":
                faults.append(f"{path} {fault}")
        return Look(model=model, path=None, faults=tuple(faults))

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(min(_READERS, os.cpu_count() or 1)) as readers:
        try:
            return await asyncio.gather(*(loop.run_in_executor(readers, look, it) for it in needed))
        finally:
            # Whoever is still reading gigabytes gives up when this start is given up.
            stop.set()


async def _download_missing(
    looks: Sequence[Look], folder: Path, memory: HashMemory, say: Say
) -> list[Look]:
    turn = asyncio.Semaphore(_DOWNLOADS_AT_ONCE)

    async def bring(look: Look) -> Look:
        place = folder / look.model.target_path
        if look.path is not None:
            return look
        if place.exists():
            fault = f"{place} is in the way and was left alone"
            return dataclasses.replace(look, faults=(*look.faults, fault))
        async with turn:
            say(f"Downloading {_described(look.model)}.")
            try:
                await download(look.model, place)
            except OperationFailedError as error:
                return dataclasses.replace(look, faults=(*look.faults, error.message))
        memory.remember(place, look.model.sha256)
        return Look(model=look.model, path=place)

    return await asyncio.gather(*map(bring, looks))


def _link(looks: Sequence[Look], home: Home, links: Path) -> None:
    """Links below `links`, for what the engine would not find, or would find something else."""
    roots = [home.core / "models", home.path / "models", home.other_models]
    for look in looks:
        target = look.model.target_path
        seen = next((root / target for root in roots if root and (root / target).is_file()), None)
        place = links / target
        if look.path not in (None, seen, place):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(look.path.absolute())


def _missing_error(
    missing: Sequence[Look], home: Home, places: ModelPlaces
) -> ModelsNotThereError | None:
    if not missing:
        return None
    listed = "".join(
        f"\n  {_described(look.model)}" + "".join(f"\n    {fault}" for fault in look.faults)
        for look in missing
    )
    looked_in = [str(one) for one in (*places.folders, *places.stores, *places.hub_caches)]
    named = [place if Path(place).is_dir() else f"{place} (not there)" for place in looked_in]
    return ModelsNotThereError(
        f'Models of the version "{home.manifest.version_id}" are missing:{listed}\n'
        f"Looked in {', '.join(named)}.",
        remedy="Mount a folder that has them and name it in MODELS_DIR "
        "(docker run -v FOLDER:/models -e MODELS_DIR=/models …), or set COMFY_MISSING_MODELS to "
        "download or ignore.",
        details={
            "models": [
                {
                    "target_path": look.model.target_path,
                    "sha256": look.model.sha256,
                    "size": look.model.size_bytes,
                    "source": shown(look.model.source) if look.model.source else None,
                    "faults": list(look.faults),
                }
                for look in missing
            ],
            "looked_in": looked_in,
        },
    )


def _described(model: NeededModel) -> str:
    return f"{model.target_path} ({model.size_bytes} bytes, sha256:{model.sha256})"
