"""Makes the Python environment of a version, in the cache, with the layer scripts."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from comfy_errors import ComfyError
from runpod_comfy.layers.layer import Layer
from runpod_comfy.realize.build import Workshop, build_layer, layer_inputs, layer_variables
from runpod_comfy.realize.environment_cache import environment_to_make, has_environment
from runpod_comfy.realize.environment_files import write_listing
from runpod_comfy.realize.packages import needed_files
from runpod_comfy.realize.progress import Downloads
from runpod_comfy.realize.script import run_script
from runpod_comfy.sources.at_once import at_once
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
        # They outlive a failure, for people to read, until `gc`.
        logs = workshop.cache.tmp / f"{layers[-1].key.replace(':', '-')}-logs"
        bench = replace(workshop, venv=venv, logs=logs)
        seconds = _make_overlapping(layers, bench)
        write_listing(venv)
        shutil.rmtree(logs, ignore_errors=True)
    return seconds


def _make_overlapping(layers: Sequence[Layer], workshop: Workshop) -> dict[str, float]:
    """One layer after the other; what the later ones need arrives while the first is compiled."""
    first, *later = layers
    downloads = _downloads(layers, workshop)
    seconds: dict[str, float] = {}

    def make(layer: Layer) -> None:
        started = time.monotonic()
        workshop.say(f"Layer {layer.name}")
        build_layer(layer, workshop, hear=downloads.hear)
        seconds[layer.name] = time.monotonic() - started

    def fetch(layer: Layer) -> None:
        # If it fails, the layer itself will, and tells why.
        with contextlib.suppress(ComfyError):
            fetch_packages(layer, workshop, hear=downloads.hear)

    parts: list[Callable[[], None]] = [lambda: make(first)]
    if not workshop.offline:
        parts += [lambda layer=layer: fetch(layer) for layer in later]  # type: ignore[misc]
    at_once(lambda part: part(), parts, give_up=True)
    for layer in later:
        make(layer)
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


def fetch_packages(layer: Layer, workshop: Workshop, hear: Callable[[bytes], None]) -> None:
    """Brings the distributions of a layer into uv's cache, by installing them into a scratch
    folder: uv has no command that only fetches."""
    with tempfile.TemporaryDirectory(dir=workshop.cache.tmp, prefix="fetch-") as folder:
        inputs = layer_inputs(layer, Path(folder) / "inputs", workshop)
        variables = layer_variables(layer, inputs, workshop)
        command = [
            *(variables["UV"], "pip", "install", "--python", variables["PYTHON"]),
            *("--target", str(Path(folder) / "packages"), "--no-deps", "--require-hashes"),
            *("--no-compile-bytecode", "--requirements", str(inputs / "requirements.txt")),
            *(["--no-index"] if variables.get("NO_INDEX") == "1" else []),
        ]
        run_script(
            command,
            title=f"fetching the packages of the layer {layer.name}",
            environment=variables,
            log=workshop.logs / f"fetch-{layer.name}.log",
            keep_open=workshop.lock_fds,
            hear=hear,
        )
