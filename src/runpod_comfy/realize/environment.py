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
from runpod_comfy.realize.script import run_script
from runpod_comfy.sources.at_once import at_once


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
    seconds: dict[str, float] = {}

    def make(layer: Layer) -> None:
        started = time.monotonic()
        workshop.say(f"Layer {layer.name}")
        build_layer(layer, workshop)
        seconds[layer.name] = time.monotonic() - started

    def fetch(layer: Layer) -> None:
        # If it fails, the layer itself will, and tells why.
        with contextlib.suppress(ComfyError):
            fetch_packages(layer, workshop)

    parts: list[Callable[[], None]] = [lambda: make(first)]
    if not workshop.offline:
        parts += [lambda layer=layer: fetch(layer) for layer in later]  # type: ignore[misc]
    at_once(lambda part: part(), parts, give_up=True)
    for layer in later:
        make(layer)
    return seconds


def fetch_packages(layer: Layer, workshop: Workshop) -> None:
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
        )
