"""The steps that change a home, each noted in its marker when it is whole."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain

from comfy_files.parallel import in_parallel
from runpod_comfy.layers.layer import Layer
from runpod_comfy.realize.build import LayerContext, build_layer
from runpod_comfy.realize.check_cache import read_report, recall_check, remember_check
from runpod_comfy.realize.environment.kept import environment_entry, put_environment
from runpod_comfy.realize.environment.uv import link_report
from runpod_comfy.realize.home import Home
from runpod_comfy.realize.install.scripts import run_install_script, undo_install_scripts
from runpod_comfy.realize.marker import Marker
from runpod_comfy.realize.prepare.fetch_all import FetchedInputs
from runpod_comfy.realize.prepare.outdated_layers import ENVIRONMENT, NODE_PREFIX
from runpod_comfy.realize.result import LayerResult


def make_layers(
    pending: Sequence[Layer], fetched: FetchedInputs, context: LayerContext, marker: Marker
) -> list[LayerResult]:
    """Makes every pending layer but the check: first those that need no more than the caches,
    then the install scripts, in order."""
    if any(layer.kind != "check" for layer in pending):
        undo_install_scripts(context.home)
    environment = [layer for layer in pending if layer.kind in ENVIRONMENT]
    installs = [layer for layer in pending if layer.kind == "install"]
    last = {*ENVIRONMENT, "install", "check"}
    others = [layer for layer in pending if layer.kind not in last]
    done = (
        _make_beside_environment(environment, others, fetched, context, marker)
        if environment
        else [_make(layer, context, marker) for layer in others]
    )
    return done + [_make(layer, context, marker) for layer in installs]


def make_checks(
    pending: Sequence[Layer], context: LayerContext, marker: Marker
) -> list[LayerResult]:
    """Makes the check, if it is pending: after everything that it looks at."""
    return [_check(layer, context, marker) for layer in pending if layer.kind == "check"]


def remove_nodes(nodes: Sequence[str], marker: Marker, home: Home) -> list[str]:
    """Takes nodes out that this program had placed; gives their names."""
    for node in nodes:
        folder = home.custom_nodes / node
        if folder.is_symlink():
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder)
        marker.forget(NODE_PREFIX + node)
    return list(nodes)


def _make(layer: Layer, context: LayerContext, marker: Marker) -> LayerResult:
    started = time.monotonic()
    context.say(f"Layer {layer.name}")
    marker.begin(layer)
    if layer.kind == "install":
        context.say(run_install_script(layer, context).in_words())
    else:
        build_layer(layer, context)
    marker.finish(layer)
    return LayerResult(name=layer.name, outcome="built", seconds=time.monotonic() - started)


def _make_beside_environment(
    environment: Sequence[Layer],
    others: Sequence[Layer],
    fetched: FetchedInputs,
    context: LayerContext,
    marker: Marker,
) -> list[LayerResult]:
    """Makes `others` while the home gets its environment, whose files are many.

    They need an interpreter only, and take that of the environment in the cache.
    """
    beside = replace(context, venv=environment_entry(environment, context.cache))
    parts: list[Callable[[], list[LayerResult]]] = [
        lambda: _put_environment(environment, fetched, context, marker),
        lambda: [_make(layer, beside, marker) for layer in others],
    ]
    return list(chain.from_iterable(in_parallel(lambda part: part(), parts, give_up=True)))


def _put_environment(
    layers: Sequence[Layer], fetched: FetchedInputs, context: LayerContext, marker: Marker
) -> list[LayerResult]:
    """The layers that share the Python environment, which is in the cache."""
    started = time.monotonic()
    marker.begin(*layers)
    mode = put_environment(layers, context.home, context.cache)
    marker.finish(*layers)
    context.say(link_report(mode, context.home, context.cache))
    seconds = (time.monotonic() - started) / len(layers)
    return [
        LayerResult(
            name=layer.name,
            outcome="built" if layer.name in fetched.made else "recalled",
            seconds=seconds + fetched.made.get(layer.name, 0.0),
            link_mode=mode,
        )
        for layer in layers
    ]


def _check(layer: Layer, context: LayerContext, marker: Marker) -> LayerResult:
    started = time.monotonic()
    # What install scripts did is not in the key.
    repeatable = not context.home.install_records.exists()
    report = recall_check(layer.key, context.home, context.cache) if repeatable else None
    recalled = report is not None
    if report is None:
        context.say("Layer check: starting the engine once")
        build_layer(layer, context)
        report = (
            remember_check(layer.key, context.check_report, context.home, context.cache)
            if repeatable
            else read_report(context.check_report)
        )
    marker.set_check(report)
    marker.finish(layer)
    return LayerResult(
        name=layer.name,
        outcome="recalled" if recalled else "built",
        seconds=time.monotonic() - started,
    )
