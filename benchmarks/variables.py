"""The variables that every contestant gets: the person's own, without what would tilt a timing."""

from __future__ import annotations

import os
from pathlib import Path

# Settings of this project, of Python (such as one that forbids bytecode), and caches.
_LEFT_OUT = ("PYTHON", "COMFY_", "VIRTUAL_ENV", "CONDA_", "MODELS_DIR", "LOCK_PATH", "OUTPUT_")
_CACHES = ("UV_CACHE_DIR", "PIP_CACHE_DIR", "UV_LINK_MODE", "UV_COMPILE_BYTECODE")
_PIP_CONFIGURATION = (".pip", ".config/pip", ".netrc")


def plain_variables() -> dict[str, str]:
    """The variables of this process, as a shell without any settings for Python has them."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_LEFT_OUT) and name not in _CACHES
    }


def variables_in_home(home: Path) -> dict[str, str]:
    """The same with a home folder of its own at `home`, where pip finds its configuration."""
    home.mkdir(parents=True, exist_ok=True)
    for name in _PIP_CONFIGURATION:
        own, seen = Path.home() / name, home / name
        if own.exists() and not seen.exists():
            seen.parent.mkdir(exist_ok=True)
            seen.symlink_to(own)
    places = {"XDG_CONFIG_HOME": ".config", "XDG_CACHE_HOME": ".cache", "XDG_DATA_HOME": ".local"}
    return {
        **plain_variables(),
        "HOME": str(home),
        **{name: str(home / place) for name, place in places.items()},
    }
