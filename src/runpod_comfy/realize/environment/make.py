"""Makes the Python environment of a version, in the cache, with the layer scripts."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace

from comfy_files.sizes import readable_size
from runpod_comfy.layers.layer import Layer
from runpod_comfy.realize.build import LayerContext, build_layer
from runpod_comfy.realize.environment.kept import (
    environment_entry,
    environment_to_make,
    has_environment,
)
from runpod_comfy.realize.environment.listing import write_listing
from runpod_comfy.realize.environment.packages import needed_files
from runpod_comfy.realize.prepare.progress import Downloads


def make_environment(layers: Sequence[Layer], context: LayerContext) -> dict[str, float]:
    """Makes the environment of `layers` (torch, wheels), if the cache does not have it.

    Gives the seconds that each layer took; nothing where nothing was made.
    """
    if not layers or has_environment(layers, context.cache):
        return {}
    with environment_to_make(layers, context.cache, context.say) as venv:
        if venv is None:
            return {}
        # They outlive a failure, for people to read, until `gc`. No other environment has them, not
        # one with the same wheels and another PyTorch that is made at this moment either.
        logs = context.cache.tmp / f"{environment_entry(layers, context.cache).name}-logs"
        bench = replace(context, venv=venv, logs=logs)
        seconds = _make_in_order(layers, bench)
        write_listing(venv)
        shutil.rmtree(logs, ignore_errors=True)
    return seconds


def _make_in_order(layers: Sequence[Layer], context: LayerContext) -> dict[str, float]:
    downloads = _downloads(layers, context)
    seconds: dict[str, float] = {}
    for layer in layers:
        started = time.monotonic()
        context.say(f"Layer {layer.name}")
        build_layer(layer, context, hear=downloads.hear)
        seconds[layer.name] = time.monotonic() - started
    downloads.finish()
    return seconds


def _downloads(layers: Sequence[Layer], context: LayerContext) -> Downloads:
    python = context.python
    groups = {"torch": python.torch, "wheels": python.wheels}
    distributions = [each for layer in layers for each in groups[layer.name]]
    needed = needed_files(distributions, python=python.version, cache=context.cache)
    missing = [file for file in needed if not file.cached]
    if missing:
        size = readable_size(sum(file.size_bytes or 0 for file in missing))
        context.say(f"Fetching {len(missing)} Python packages, {size}")
    return Downloads(missing, context.progress)
