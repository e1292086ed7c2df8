"""The paths of the project's packages, and of the files for images."""

from __future__ import annotations

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
