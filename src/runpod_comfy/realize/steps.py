"""The steps that change a home, each noted in its marker when it is whole."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain

from runpod_comfy.layers.layer import Layer
from runpod_comfy.realize.build import Workshop, build_layer
from runpod_comfy.realize.check_cache import read_report, recall_check, remember_check
from runpod_comfy.realize.environment_cache import environment_entry, put_environment
from runpod_comfy.realize.home import Home
from runpod_comfy.realize.install_scripts import run_install_script, undo_install_scripts
from runpod_comfy.realize.installer import link_report
from runpod_comfy.realize.pending import ENVIRONMENT, NODE_PREFIX
from runpod_comfy.realize.record import Record
from runpod_comfy.realize.result import LayerResult
from runpod_comfy.realize.supplies import Supplies
from runpod_comfy.sources.at_once import at_once


def make_layers(
    pending: Sequence[Layer], supplies: Supplies, workshop: Workshop, record: Record
) -> list[LayerResult]:
    """Makes every pending layer but the check: first those that need no more than the caches,
    then the install scripts, in order."""
    if any(layer.kind != "check" for layer in pending):
        undo_install_scripts(workshop.home)
    environment = [layer for layer in pending if layer.kind in ENVIRONMENT]
    installs = [layer for layer in pending if layer.kind == "install"]
    last = {*ENVIRONMENT, "install", "check"}
    others = [layer for layer in pending if layer.kind not in last]
    done = (
        _make_beside_environment(environment, others, supplies, workshop, record)
        if environment
        else [_make(layer, workshop, record) for layer in others]
    )
    return done + [_make(layer, workshop, record) for layer in installs]


def make_checks(pending: Sequence[Layer], workshop: Workshop, record: Record) -> list[LayerResult]:
    """Makes the check, if it is pending: after everything that it looks at."""
    return [_check(layer, workshop, record) for layer in pending if layer.kind == "check"]


def remove_nodes(nodes: Sequence[str], record: Record, home: Home) -> list[str]:
    """Takes nodes out that this program had placed; gives their names."""
    for node in nodes:
        folder = home.custom_nodes / node
        if folder.is_symlink():
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder)
        record.forget(NODE_PREFIX + node)
    return list(nodes)


def _make(layer: Layer, workshop: Workshop, record: Record) -> LayerResult:
    started = time.monotonic()
    workshop.say(f"Layer {layer.name}")
    record.begin(layer)
    if layer.kind == "install":
        workshop.say(run_install_script(layer, workshop).in_words())
    else:
        build_layer(layer, workshop)
    record.finish(layer)
    return LayerResult(name=layer.name, outcome="built", seconds=time.monotonic() - started)


def _make_beside_environment(
    environment: Sequence[Layer],
    others: Sequence[Layer],
    supplies: Supplies,
    workshop: Workshop,
    record: Record,
) -> list[LayerResult]:
    """Makes `others` while the home gets its environment, whose files are many.

    They need an interpreter only, and take that of the environment in the cache.
    """
    beside = replace(workshop, venv=environment_entry(environment, workshop.cache))
    parts: list[Callable[[], list[LayerResult]]] = [
        lambda: _put_environment(environment, supplies, workshop, record),
        lambda: [_make(layer, beside, record) for layer in others],
    ]
    return list(chain.from_iterable(at_once(lambda part: part(), parts, give_up=True)))


def _put_environment(
    layers: Sequence[Layer], supplies: Supplies, workshop: Workshop, record: Record
) -> list[LayerResult]:
    """The layers that share the Python environment, which is in the cache."""
    started = time.monotonic()
    record.begin(*layers)
    mode = put_environment(layers, workshop.home, workshop.cache)
    record.finish(*layers)
    workshop.say(link_report(mode, workshop.home, workshop.cache))
    seconds = (time.monotonic() - started) / len(layers)
    return [
        LayerResult(
            name=layer.name,
            outcome="built" if layer.name in supplies.made else "recalled",
            seconds=seconds + supplies.made.get(layer.name, 0.0),
            link_mode=mode,
        )
        for layer in layers
    ]


def _check(layer: Layer, workshop: Workshop, record: Record) -> LayerResult:
    started = time.monotonic()
    # What install scripts did is not in the key.
    repeatable = not workshop.home.install_records.exists()
    report = recall_check(layer.key, workshop.home, workshop.cache) if repeatable else None
    recalled = report is not None
    if report is None:
        workshop.say("Layer check: starting the engine once")
        build_layer(layer, workshop)
        report = (
            remember_check(layer.key, workshop.check_report, workshop.home, workshop.cache)
            if repeatable
            else read_report(workshop.check_report)
        )
    record.set_check(report)
    record.finish(layer)
    return LayerResult(
        name=layer.name,
        outcome="recalled" if recalled else "built",
        seconds=time.monotonic() - started,
    )
