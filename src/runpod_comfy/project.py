"""The paths of the project's packages, and of the files for images."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path

PACKAGES = Path(__file__).parents[1]
"""The folder of `runpod_comfy` and the packages beside it: `src/`, or where they are installed
among other packages.
"""

PACKAGE_NAMES = (
    *("comfy_errors", "comfy_files", "comfy_home", "comfy_http", "comfy_models"),
    *("comfy_workflows", "rp_handler", "runpod_comfy"),
)

# The wheel holds them inside the package; see pyproject.toml.
_INSTALLED = Path(__file__).parent / "_images"

IMAGES = _INSTALLED if _INSTALLED.is_dir() else PACKAGES.parent / "images"
LAYER_SCRIPTS = IMAGES / "layers"


def program_digest() -> str:
    """A digest of this program and its layer scripts: a different size or time of any file means
    another program.
    """
    folders = (*(PACKAGES / name for name in PACKAGE_NAMES), LAYER_SCRIPTS)
    found = [file for folder in folders for file in sorted(_files(folder))]
    return hashlib.sha256(repr((sys.version, found)).encode()).hexdigest()


def _files(folder: Path) -> Iterable[tuple[str, int, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name != "__pycache__":
                    yield from _files(Path(entry.path))
            else:
                of = entry.stat()
                yield entry.path, of.st_size, of.st_mtime_ns
