"""Where an image searches for its models, by variables and by what is mounted, and what it does
about missing ones.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from comfy_errors import InvalidInputError
from comfy_files.files import can_write
from comfy_files.user_paths import expanded
from comfy_models.search import ModelPlaces
from comfy_models.verify import MEMORY_NAME, is_circular
from rp_handler.home.realized import Home

_SERVERLESS_VOLUME = Path("/runpod-volume")
_POD_VOLUME = Path("/workspace")
"""Where RunPod mounts a network volume."""

_POLICIES = ("fail", "download", "ignore")
_TRUTH = {"1": True, "true": True, "yes": True, "on": True}
_TRUTH |= {"": False, "0": False, "false": False, "no": False, "off": False}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSearch:
    """How to search for a home's models at start.

    `on_missing` is `fail`, `download` or `ignore`. With `always_hash`, files are hashed even if
    their hash is remembered. `memory_files` hold the remembered hashes. `downloads` is the folder
    to download into, None for a temporary one. Below `roots`, models may lie in other layouts.
    """

    places: ModelPlaces
    own: Path
    on_missing: str
    always_hash: bool
    memory_files: list[Path]
    downloads: Path | None
    roots: list[Path]

    @property
    def main(self) -> Path:
        """The models folder that nodes see as a whole."""
        return next((folder for folder in self.places.folders if folder.is_dir()), self.own)


def make_search(
    home: Home,
    named: Path | None,
    volume: Path | None,
    environment: Mapping[str, str],
    *,
    is_baked: bool,
) -> ModelSearch:
    """The search for the models of `home` in an image, which was built with it if `is_baked`.

    `named` is the models folder that was asked for, existing or not, and `volume` another folder
    that may have them in `models`. Raises InvalidInputError.
    """
    folders = _folders(home.models, named, volume, is_baked=is_baked)
    temporary = Path(tempfile.gettempdir(), f"comfy-verified-{os.getuid()}")
    stores = _stores(environment)
    there = [folder for folder in folders if folder.is_dir()]
    memories = [folder / MEMORY_NAME for folder in (*folders, *stores)]
    return ModelSearch(
        places=ModelPlaces(folders=folders, stores=stores, hub_caches=_hub_caches(environment)),
        own=home.models,
        on_missing=missing_policy(environment),
        always_hash=_is_true("COMFY_VERIFY_MODELS", environment),
        memory_files=[*memories, temporary],
        downloads=next((one for one in folders if is_mounted(one) and can_write(one)), None),
        roots=[one for one in (_SERVERLESS_VOLUME, _POD_VOLUME, volume, *there) if one],
    )


def _folders(own: Path, named: Path | None, volume: Path | None, *, is_baked: bool) -> list[Path]:
    """The models folders, existing or not, the preferred one first.

    The own folder of the home that an image was built with is the last choice: what is downloaded
    there is lost with the container.
    """
    volumes = [_SERVERLESS_VOLUME / "models", _POD_VOLUME / "models"]
    others = [*volumes, own] if is_baked else [own, *volumes]
    asked = [named, volume / "models" if volume else None, *others]
    return list(dict.fromkeys(folder for folder in asked if folder is not None))


def is_mounted(folder: Path) -> bool:
    """False for the models folder of a volume that this machine does not have."""
    return folder.parent not in (_SERVERLESS_VOLUME, _POD_VOLUME) or folder.parent.is_dir()


def volume_of(folder: Path) -> Path:
    """What other machines see of the disk of the models folder, links followed: RunPod's volume,
    else the parent of a folder `models`, else only the folder.
    """
    place = folder.resolve()
    if place.is_mount():
        return place
    for root in (_SERVERLESS_VOLUME.resolve(), _POD_VOLUME.resolve()):
        if place.is_relative_to(root):
            return root
    # Other machines have another `/` and another `~`.
    private = (Path("/"), Path(os.path.expanduser("~")).resolve())  # noqa: PTH111
    return place if place.name != "models" or place.parent in private else place.parent


def leads_into(path: Path, volume: Path) -> bool:
    """True if `path` is in the folder `volume`, and so is what it leads to."""
    return is_circular(path) or path.resolve().is_relative_to(volume)


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
