"""Makes the Python environment of a version, in the cache, with the layer scripts."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace

from runpod_comfy.layers.layer import Layer
from runpod_comfy.realize.build import Workshop, build_layer
from runpod_comfy.realize.environment_cache import (
    environment_entry,
    environment_to_make,
    has_environment,
)
from runpod_comfy.realize.environment_files import write_listing
from runpod_comfy.realize.packages import needed_files
from runpod_comfy.realize.progress import Downloads
from runpod_comfy.sources.sizes import readable_size


def make_environment(layers: Sequence[Layer], workshop: Workshop) -> dict[str, float]:
    """Makes the environment of `layers` (torch, wheels), if the cache does not have it.

    Gives the seconds that each layer took; nothing where nothing was made.
    """
    if not layers or has_environment(layers, workshop.cache):
        return {}
    with environment_to_make(layers, workshop.cache, workshop.say) as venv:
        if venv is None:
            return {}
        # They outlive a failure, for people to read, until `gc`. No other environment has them, not
        # one with the same wheels and another PyTorch that is made at this moment either.
        logs = workshop.cache.tmp / f"{environment_entry(layers, workshop.cache).name}-logs"
        bench = replace(workshop, venv=venv, logs=logs)
        seconds = _make_in_order(layers, bench)
        write_listing(venv)
        shutil.rmtree(logs, ignore_errors=True)
    return seconds


def _make_in_order(layers: Sequence[Layer], workshop: Workshop) -> dict[str, float]:
    downloads = _downloads(layers, workshop)
    seconds: dict[str, float] = {}
    for layer in layers:
        started = time.monotonic()
        workshop.say(f"Layer {layer.name}")
        build_layer(layer, workshop, hear=downloads.hear)
        seconds[layer.name] = time.monotonic() - started
    downloads.finish()
    return seconds


def _downloads(layers: Sequence[Layer], workshop: Workshop) -> Downloads:
    python = workshop.python
    groups = {"torch": python.torch, "wheels": python.wheels}
    distributions = [each for layer in layers for each in groups[layer.name]]
    needed = needed_files(distributions, python=python.version, cache=workshop.cache)
    missing = [file for file in needed if not file.cached]
    if missing:
        size = readable_size(sum(file.size_bytes or 0 for file in missing))
        workshop.say(f"Fetching {len(missing)} Python packages, {size}")
    return Downloads(missing, workshop.progress)
