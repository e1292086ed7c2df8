"""An image's models at the start of a container: searched for wherever they may be mounted,
checked, and linked, downloaded or reported as missing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from comfy_errors import InvalidInputError, OperationFailedError
from comfy_files.files import can_write
from comfy_files.parallel import in_parallel
from comfy_files.progress import Say, when_slow
from comfy_files.space import require_room
from comfy_files.user_paths import expanded
from comfy_http.redaction import without_secrets
from comfy_models.download import download
from comfy_models.model_file import ModelFile
from comfy_models.search import ModelPlaces
from comfy_models.verify import MEMORY_NAME, HashMemory, fault_of
from rp_handler.errors import ModelsNotThereError
from rp_handler.home.model_tree import changeable_link, leading_to
from rp_handler.home.realized import Home
from rp_handler.interruption import in_thread

# Where RunPod mounts a network volume: on serverless workers, and on pods.
_SERVERLESS_VOLUME = Path("/runpod-volume")
_POD_VOLUME = Path("/workspace")

_POLICIES = ("fail", "download", "ignore")
_TRUTH = {"1": True, "true": True, "yes": True, "on": True}
_TRUTH |= {"": False, "0": False, "false": False, "no": False, "off": False}

_READERS = 4
_DOWNLOADS_AT_ONCE = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSearch:
    """How to search for a home's models at start.

    `main` is the models folder that nodes see as a whole. `on_missing` is `fail`, `download` or
    `ignore`. With `always_hash`, files are hashed even if their hash is remembered. `memory_files`
    hold the remembered hashes. `downloads` is the folder to download into, None for a temporary
    one.
    """

    places: ModelPlaces
    main: Path
    on_missing: str
    always_hash: bool
    memory_files: list[Path]
    downloads: Path | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Look:
    """The result of searching for a model: its path, or None and the faults of files found."""

    model: ModelFile
    path: Path | None = None
    faults: tuple[str, ...] = ()

    @property
    def described(self) -> str:
        return f"{self.model.target_path} ({self.model.size} bytes, sha256:{self.model.sha256})"

    def but(self, fault: str) -> _Look:
        return dataclasses.replace(self, faults=(*self.faults, fault))


def make_search(home: Home, volume: Path | None, environment: Mapping[str, str]) -> ModelSearch:
    """The search for the models of `home` in an image; `volume` is another folder that may have
    them in `models`. Raises InvalidInputError.
    """
    on_volume = volume / "models" if volume else None
    chosen = [one for one in (home.other_models, on_volume, home.models) if one]
    volumes = [_SERVERLESS_VOLUME / "models", _POD_VOLUME / "models"]
    folders = list(dict.fromkeys([*chosen, *volumes]))
    temporary = Path(tempfile.gettempdir(), f"comfy-verified-{os.getuid()}.json")
    mounted = [one for one in (home.other_models, on_volume, *volumes) if one and one.is_dir()]
    return ModelSearch(
        places=ModelPlaces(
            folders=folders, stores=_stores(environment), hub_caches=_hub_caches(environment)
        ),
        main=mounted[0] if mounted else home.models,
        on_missing=missing_policy(environment),
        always_hash=_is_true("COMFY_VERIFY_MODELS", environment),
        memory_files=[*(folder / MEMORY_NAME for folder in folders if folder.is_dir()), temporary],
        downloads=next((folder for folder in chosen if can_write(folder)), None),
    )


def missing_policy(environment: Mapping[str, str]) -> str:
    """The value of COMFY_MISSING_MODELS. Raises InvalidInputError."""
    policy = environment.get("COMFY_MISSING_MODELS") or "fail"
    if policy not in _POLICIES:
        raise InvalidInputError(
            f'COMFY_MISSING_MODELS is "{policy}".',
            remedy=f"Set it to {', '.join(_POLICIES[:-1])} or {_POLICIES[-1]}.",
        )
    return policy


def _stores(environment: Mapping[str, str]) -> list[Path]:
    root = environment.get("COMFY_CACHE_ROOT") or "~/.cache/runpod-comfy"
    named = [environment.get("COMFY_CACHE_MODELS"), f"{root}/models"]
    # Without a home folder a `~` stays: then nothing is there.
    return [Path(os.path.expanduser(one)) for one in named if one]  # noqa: PTH111


def _hub_caches(environment: Mapping[str, str]) -> list[Path]:
    named = [environment.get("HF_HUB_CACHE")]
    if environment.get("HF_HOME"):
        named.append(f"{environment['HF_HOME']}/hub")
    runpod = _SERVERLESS_VOLUME / "huggingface-cache/hub"
    return [*(expanded(one) for one in named if one), runpod]


def _is_true(name: str, environment: Mapping[str, str]) -> bool:
    value = environment.get(name, "").lower()
    if value not in _TRUTH:
        raise InvalidInputError(f'{name} is "{value}".', remedy="Set it to 1 or 0.")
    return _TRUTH[value]


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
            looks = await in_thread(lambda: _look_for_all(home, search, links, say))
        error = _missing_error([look for look in looks if look.path is None], home, search.places)
        if error is not None and are_used and search.on_missing != "ignore":
            raise error
        warnings = (error.message,) if error else ()
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


def _look_for_all(home: Home, search: ModelSearch, links: Path, say: Say) -> list[_Look]:
    """Looks for every model, and downloads missing ones if the policy says so."""
    memory = HashMemory(search.memory_files)

    def look(model: ModelFile) -> _Look:
        found = _Look(model=model)
        for path in search.places.candidates(model):
            fault = fault_of(path, model, memory, always_hash=search.always_hash)
            if fault is None:
                return _Look(model=model, path=path)
            if fault != "does not exist":
                found = found.but(f"{path} {fault}")
        return found

    def bring(missing: _Look) -> _Look:
        place = (search.downloads or links) / missing.model.target_path
        if missing.path is not None:
            return missing
        if place.exists():
            return missing.but(f"{place} is another file and was left alone")
        say(f"Downloading {missing.described}.")
        try:
            download(missing.model, place, say=say)
        except OperationFailedError as error:
            return missing.but(error.message)
        memory.remember(place, missing.model.sha256)
        return _Look(model=missing.model, path=place)

    readers = min(_READERS, os.cpu_count() or 1)
    looks = in_parallel(look, home.manifest.models, threads=readers)
    if search.on_missing == "download":
        needed = sum(look.model.size for look in looks if look.path is None)
        try:
            require_room([(search.downloads or links, needed)], remedy="")
            looks = in_parallel(bring, looks, threads=_DOWNLOADS_AT_ONCE)
        except OperationFailedError as error:
            looks = [look if look.path else look.but(error.message) for look in looks]
    memory.save()
    return looks


def _link(looks: Sequence[_Look], roots: Sequence[Path | None], links: Path) -> None:
    """Links models below `links` that are not what the engine would find below `roots`."""
    for look in looks:
        target = look.model.target_path
        seen = next((root / target for root in roots if root and (root / target).is_file()), None)
        place = links / target
        if look.path not in (None, seen, place):
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(look.path.absolute())


def _missing_error(
    missing: Sequence[_Look], home: Home, places: ModelPlaces
) -> ModelsNotThereError | None:
    if not missing:
        return None
    listed = "".join(
        f"\n  {look.described}" + "".join(f"\n    {fault}" for fault in look.faults)
        for look in missing
    )
    looked_in = [str(one) for one in (*places.folders, *places.stores, *places.hub_caches)]
    named = [place if Path(place).is_dir() else f"{place} (does not exist)" for place in looked_in]
    return ModelsNotThereError(
        f'Missing models of the version "{home.manifest.version_id}":{listed}\n'
        f"Looked in {', '.join(named)}.",
        remedy="Mount a folder with them and set MODELS_DIR "
        "(docker run -v FOLDER:/models -e MODELS_DIR=/models …), or set COMFY_MISSING_MODELS to "
        "download or ignore.",
        details={
            "models": [
                {
                    "target_path": look.model.target_path,
                    "sha256": look.model.sha256,
                    "size": look.model.size,
                    "source": _first_source(look.model),
                    "faults": list(look.faults),
                }
                for look in missing
            ],
            "looked_in": looked_in,
        },
    )


def _first_source(model: ModelFile) -> str | None:
    return without_secrets(model.sources[0].url) if model.sources else None
