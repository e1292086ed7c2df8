"""Which home is run: the one that somebody names, the one on a volume, or the image's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from comfy_errors import InvalidInputError, UnavailableError
from comfy_home.lock_bytes import lock_digest
from comfy_home.manifest import MARKER_NAME, load_manifest
from rp_handler.home.realized import Home, find_home


@dataclass(frozen=True, kw_only=True)
class HomeChoice:
    """`path` is the home to run. In an image, `baked` is its own home, and `volume` the folder of
    COMFY_HOME if no version is realized there; else they are None."""

    path: Path
    baked: Path | None = None
    volume: Path | None = None

    @property
    def replaces_baked(self) -> bool:
        """Whether this is not the image's own home although it has one."""
        return self.baked is not None and self.path != self.baked


def choose_home(
    version_id: str, asked_home: Path | None, environment: Mapping[str, str]
) -> HomeChoice:
    """The folder asked for; in an image a marked COMFY_HOME, else its own home; or the usual."""
    baked = baked_home(environment)
    if baked is None:
        return HomeChoice(path=find_home(version_id, asked_home, environment))
    if asked_home is not None:
        return HomeChoice(path=asked_home.expanduser().absolute(), baked=baked)
    if not environment.get("COMFY_HOME"):
        return HomeChoice(path=baked, baked=baked)
    volume = find_home(version_id, None, environment)
    if (volume / MARKER_NAME).exists():
        return HomeChoice(path=volume, baked=baked)
    return HomeChoice(path=baked, baked=baked, volume=volume)


def baked_home(environment: Mapping[str, str]) -> Path | None:
    """The home that an image was built with; None outside of an image."""
    named = environment.get("COMFY_BAKED_HOME")
    return Path(named) if named else None


def baked_version_id(environment: Mapping[str, str]) -> str | None:
    """The version of the image's own home, None outside of an image."""
    home = baked_home(environment)
    manifest = load_manifest(home) if home else None
    return manifest.version_id if manifest else None


def require_lock(home: Home, lock_path: Path) -> None:
    """Raises InvalidInputError if `home` was not made from the lock at `lock_path`."""
    asked, there = _lock_digest(lock_path), home.manifest.lock_digest
    if asked != there:
        raise InvalidInputError(
            f"{home.path} was made from {f'the lock {there}' if there else 'no lock'}, "
            f"and LOCK_PATH asks for {asked} ({lock_path}).",
            remedy="Give the home or the image of that lock, or unset LOCK_PATH.",
        )


def _lock_digest(path: Path) -> str:
    try:
        document = json.loads(path.expanduser().read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UnavailableError(
            f"There is no lock at {path}.", remedy="Correct or unset LOCK_PATH."
        ) from error
    except (OSError, ValueError) as error:
        raise InvalidInputError(
            f"The lock {path} cannot be read: {error}.", remedy="Correct or unset LOCK_PATH."
        ) from error
    return lock_digest(document)
