"""Pinned ComfyUI: from a version spec to a lock, to a home or an image, to what a workflow makes.

    from runpod_comfy import ComfyError, create, resolve, realize, build_image, push, run

    lock = resolve("demo").lock
    home = realize("demo").target
    result = run("demo", workflow="workflows/example.json")

Versions are those of `versions/` in the folder `project`, by default the first that has one at or
above the working directory, else the working directory. Nothing is printed: each function passes
its progress to `say`, one sentence at a time. Every error is a `ComfyError`, with a `message`, a
`remedy` and the command line's `exit_code`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from comfy_errors import ComfyError

if TYPE_CHECKING:
    from runpod_comfy.api.edits import add_model, add_node, override  # pants: no-infer-dep
    from runpod_comfy.api.homes import realize, run  # pants: no-infer-dep
    from runpod_comfy.api.images import build_image, push  # pants: no-infer-dep
    from runpod_comfy.api.models import verify_models  # pants: no-infer-dep
    from runpod_comfy.api.versions import create, resolve  # pants: no-infer-dep

__version__ = "0.1.0"

__all__ = [
    "ComfyError",
    "add_model",
    "add_node",
    "build_image",
    "create",
    "override",
    "push",
    "realize",
    "resolve",
    "run",
    "verify_models",
]

_MODULES = {
    "create": "versions",
    "add_node": "edits",
    "add_model": "edits",
    "override": "edits",
    "resolve": "versions",
    "realize": "homes",
    "run": "homes",
    "verify_models": "models",
    "build_image": "images",
    "push": "images",
}


def __getattr__(name: str) -> Any:
    # Imported on first use: the models of a spec and a lock take longer to import than a short
    # command.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.api.{_MODULES[name]}"), name)
