"""An image's models at the start of a container: searched for wherever they may be mounted,
checked, and linked, downloaded or reported as missing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from comfy_errors import ComfyError
from comfy_files.arrivals import Sentences, arrivals
from comfy_files.progress import Say, when_slow
from comfy_models.elsewhere import SOON_BYTES, find_elsewhere
from comfy_models.verify import HashMemory
from rp_handler.home.found_models import Look, look_for, missing_error
from rp_handler.home.model_search import ModelSearch
from rp_handler.home.model_tree import changeable_link, leading_to
from rp_handler.home.realized import Home
from rp_handler.home.supply import Supply, hosts_here
from rp_handler.interruption import in_thread


@contextlib.asynccontextmanager
async def models_at_hand(
    home: Home, search: ModelSearch | None, *, say: Say, are_used: bool = True
) -> AsyncIterator[tuple[Home, tuple[str, ...]]]:
    """`home` with every model of its manifest where the engine and its nodes find it, and warnings.

    Without `are_used`, missing models only cause a warning. The links are removed after the block.
    `search` is None outside an image, where `realize` has linked the models. Raises
    ModelsNotThereError, which names all that are missing.
    """
    if search is None:
        yield home, ()
        return
    with tempfile.TemporaryDirectory(prefix="comfy-models-") as folder:
        links = Path(folder, "models")
        with when_slow(say, f"Reading the models of {home.manifest.version_id} to check them."):
            looks, failure = await in_thread(lambda: _look_for_all(home, search, links, say))
        version_id, missing = home.manifest.version_id, [it for it in looks if it.path is None]
        error = missing_error(missing, search.places, version_id=version_id, failure=failure)
        if error is not None and are_used and search.on_missing != "ignore":
            raise error
        warnings = (error.message,) if error else ()
        home = dataclasses.replace(home, memory_files=tuple(search.memory_files))
        link = changeable_link(home.core_models)
        if link is None:
            _link(looks, [home.core_models, home.models, home.other_models], links)
            there = links if links.exists() else None
            yield dataclasses.replace(home, linked_models=there), warnings
            return
        _link(looks, [search.main], links)
        scratch = Path(folder, "all")
        with leading_to(link, search.main, links=links, scratch=scratch):
            yield dataclasses.replace(home, other_models=None), warnings


def _look_for_all(
    home: Home, search: ModelSearch, links: Path, say: Say
) -> tuple[list[Look], ComfyError | None]:
    """Looks for every model, and downloads missing ones if the policy says so; also why that
    failed. Those still missing then are looked for in other layouts.
    """
    memory, error = HashMemory(search.memory_files), None
    looks = look_for(home.manifest.models, search.places, memory, always_hash=search.always_hash)
    if search.on_missing == "download" and any(look.path is None for look in looks):
        supply = Supply(folder=search.downloads or links, hosts=hosts_here(os.environ, say))
        with arrivals(Sentences(say=say)) as (_, progress):
            looks, error = supply.bring(looks, memory, say=say, progress=progress)
    missing = [look.model for look in looks if look.path is None]
    roots = search.roots if missing and search.on_missing != "ignore" else []
    found = find_elsewhere(missing, roots, memory, hashed_bytes=SOON_BYTES)
    memory.save()
    looks = [look if look.path else look.with_elsewhere(found, search.places) for look in looks]
    return looks, error


def _link(looks: Sequence[Look], roots: Sequence[Path | None], links: Path) -> None:
    """Links models below `links` that are not what the engine would find below `roots`."""
    for look in looks:
        target = look.model.target_path
        seen = next((root / target for root in roots if root and (root / target).is_file()), None)
        place = links / target
        if look.path not in (None, seen, place):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(look.path.absolute())
