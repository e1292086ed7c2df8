"""Where a container looks for the models of its version, and what it does about missing ones."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from comfy_errors import InvalidInputError
from comfy_models.memory import MEMORY_NAME
from comfy_models.search import ModelPlaces
from rp_handler.home.choice import HomeChoice
from rp_handler.home.realized import Home
from rp_handler.home.writable import can_write

# Where RunPod mounts a network volume: on serverless workers, and on pods.
_SERVERLESS_VOLUME = Path("/runpod-volume")
_POD_VOLUME = Path("/workspace")

_POLICIES = ("fail", "download", "ignore")
_TRUTH = {"1": True, "true": True, "yes": True, "on": True}
_TRUTH |= {"": False, "0": False, "false": False, "no": False, "off": False}


@dataclass(frozen=True, kw_only=True)
class ModelSearch:
    """How the models of a home are looked for at start.

    `on_missing` is `fail`, `download` or `ignore`. With `always_hash`, files are read although
    they were before. `memory_files` keep what was read. `downloads` is the folder to download
    into, None for one that goes away with the process.
    """

    places: ModelPlaces
    on_missing: str
    always_hash: bool
    memory_files: list[Path]
    downloads: Path | None


def make_search(
    home: Home, choice: HomeChoice, environment: Mapping[str, str]
) -> ModelSearch | None:
    """The search for `home`; None outside of an image, where `realize` has linked the models.

    Raises InvalidInputError.
    """
    if choice.baked is None:
        return None
    on_volume = choice.volume / "models" if choice.volume else None
    chosen = [one for one in (home.other_models, on_volume, home.path / "models") if one]
    volumes = [_SERVERLESS_VOLUME / "models", _POD_VOLUME / "models"]
    folders = list(dict.fromkeys([*chosen, *volumes]))
    temporary = Path(tempfile.gettempdir(), f"comfy-verified-{os.getuid()}.json")
    return ModelSearch(
        places=ModelPlaces(
            folders=folders, stores=_stores(environment), hub_caches=_hub_caches(environment)
        ),
        on_missing=missing_policy(environment),
        always_hash=_is_true("COMFY_VERIFY_MODELS", environment),
        memory_files=[*(folder / MEMORY_NAME for folder in folders if folder.is_dir()), temporary],
        downloads=next((folder for folder in chosen if can_write(folder)), None),
    )


def missing_policy(environment: Mapping[str, str]) -> str:
    """What COMFY_MISSING_MODELS says. Raises InvalidInputError."""
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
    return [Path(one).expanduser() for one in named if one]


def _hub_caches(environment: Mapping[str, str]) -> list[Path]:
    named = [environment.get("HF_HUB_CACHE")]
    if environment.get("HF_HOME"):
        named.append(f"{environment['HF_HOME']}/hub")
    runpod = _SERVERLESS_VOLUME / "huggingface-cache/hub"
    return [*(Path(one).expanduser() for one in named if one), runpod]


def _is_true(name: str, environment: Mapping[str, str]) -> bool:
    value = environment.get(name, "").lower()
    if value not in _TRUTH:
        raise InvalidInputError(f'{name} is "{value}".', remedy="Set it to 1 or 0.")
    return _TRUTH[value]
