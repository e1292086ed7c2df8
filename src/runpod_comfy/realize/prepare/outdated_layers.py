"""What a home still lacks of a plan. Reads the home, starts and writes nothing."""

from __future__ import annotations

from pathlib import Path

from comfy_home.manifest import Manifest
from runpod_comfy.layers.layer import Layer
from runpod_comfy.layers.plan import Plan
from runpod_comfy.realize.home import Home

NODE_PREFIX = "node:"
INSTALL_PREFIX = "install:"
ENVIRONMENT = ("torch", "wheels")


def outdated_layers(plan: Plan, manifest: Manifest | None, home: Home) -> list[Layer]:
    """The layers to make, in order: those without their key in the manifest, or whose folder is
    gone. The two that share the Python environment are made together, from nothing, because a
    package that was half replaced cannot be told from a whole one. For the same reason all layers
    are made together where an install script has run, or is to run."""
    planned = {layer.name for layer in plan.layers}
    done = manifest.layers if manifest else {}
    pending = {
        layer.name
        for layer in plan.layers
        if done.get(layer.name) != layer.key or not _is_there(layer, manifest, home)
    }
    if not pending.isdisjoint(ENVIRONMENT):
        pending.update(ENVIRONMENT)
    if "core" in pending:
        # Some cores bring an extra_model_paths.yaml of their own, over the one made here.
        pending.add("models")
    installs = {name for name in (*planned, *done) if name.startswith(INSTALL_PREFIX)}
    if (installs and pending - {"check"}) or installs - planned:
        # A script may have written anywhere.
        pending = planned
    return [layer for layer in plan.layers if layer.name in pending]


def gone_nodes(plan: Plan, manifest: Manifest | None) -> list[str]:
    """Names of the nodes that were placed in the home and are no longer in the plan."""
    planned = {layer.name for layer in plan.layers}
    return [
        name.removeprefix(NODE_PREFIX)
        for name in (manifest.layers if manifest else {})
        if name.startswith(NODE_PREFIX) and name not in planned
    ]


def looked_at(plan: Plan, home: Home) -> list[Path]:
    """The places in the home by which `outdated_layers` sees that a layer is there."""
    return [place for layer in plan.layers if (place := _left_by(layer, home)) is not None]


def _is_there(layer: Layer, manifest: Manifest | None, home: Home) -> bool:
    if layer.kind == "check":
        return manifest is not None and manifest.check is not None and home.object_info.is_file()
    left = _left_by(layer, home)
    return left is None or left.exists()


def _left_by(layer: Layer, home: Home) -> Path | None:
    leaves = {
        "torch": home.python,
        "wheels": home.python,
        "core": home.comfyui / "main.py",
        "models": home.comfyui / "extra_model_paths.yaml",
        "node": home.custom_nodes / layer.name.removeprefix(NODE_PREFIX),
        "check": home.object_info,
    }
    return leaves.get(layer.kind)
