"""The steps that change a home, each recorded in its marker when complete.

At any moment the marker only lists what is really there.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from comfy_errors import ComfyError
from comfy_files.files import place_folder, replace_file
from comfy_files.parallel import in_parallel
from comfy_files.progress import when_slow
from comfy_home.layout import DAMAGE_NAME
from comfy_home.manifest import CheckReport, Manifest, save_manifest
from comfy_home.platforms import this_platform
from runpod_comfy.cache.paths import Cache
from runpod_comfy.homes.changes import Changes
from runpod_comfy.homes.environment import (
    LinkMode,
    environment_entry,
    forget_environment,
    put_environment,
)
from runpod_comfy.homes.fetch import Fetched
from runpod_comfy.homes.home import BEGUN, Home, Realization, unmanaged_nodes
from runpod_comfy.homes.install_scripts import (
    own_environment,
    run_install_script,
    undo_install_scripts,
    undo_start,
)
from runpod_comfy.homes.models import link_models, links_to_make
from runpod_comfy.homes.script import LayerContext, build_layer
from runpod_comfy.homes.verify.listing import write_listing
from runpod_comfy.layers.inputs import manifest_of
from runpod_comfy.layers.plan import ENVIRONMENT, NODE_PREFIX, Layer, Plan, make_plan

_REPORT_NAME = "report.json"
_LOG_NAME = "check.log"
OBJECT_INFO_IN_CACHE = "object_info.json"
"""The name of the record of node classes in `check_entry`."""


@dataclass(frozen=True, kw_only=True)
class LayerResult:
    """`kept` already existed, `built` was made now, `recalled` was known from an earlier run.

    `link_mode` says how an environment's files came from the cache.
    """

    name: str
    outcome: Literal["kept", "built", "recalled"]
    seconds: float
    link_mode: LinkMode | None = None


class Marker:
    """The manifest of one home, written after each step. Several threads may take steps."""

    def __init__(self, home: Home, manifest: Manifest) -> None:
        self._home = home
        self._manifest = manifest
        self._one_at_a_time = threading.Lock()
        self._save()

    def begin(self, *layers: Layer) -> None:
        self._set_layers({layer.name: BEGUN for layer in layers})

    def finish(self, *layers: Layer) -> None:
        self._set_layers({layer.name: layer.key for layer in layers})

    def forget(self, layer_name: str) -> None:
        self._set_layers({}, without=layer_name)

    def set_check(self, report: CheckReport) -> None:
        self._manifest = self._manifest.model_copy(update={"check": report})

    def needs_unmet_here(self) -> list[str]:
        return self._manifest.needs_unmet_here(os.environ)

    def complete(self, plan: Plan, models_dir: Path) -> None:
        """Records that the home is complete."""
        planned = {layer.name for layer in plan.layers}
        layers = {name: key for name, key in self._manifest.layers.items() if name in planned}
        self._manifest = self._manifest.model_copy(
            update={"complete": True, "models_dir": str(models_dir), "layers": layers}
        )
        self._save()

    def _set_layers(self, changed: Mapping[str, str], *, without: str | None = None) -> None:
        with self._one_at_a_time:
            layers = {**self._manifest.layers, **changed}
            if without is not None:
                layers.pop(without, None)
            self._manifest = self._manifest.model_copy(update={"layers": layers})
            self._save()

    def _save(self) -> None:
        save_manifest(self._home.root, self._manifest)


def change_home(
    changes: Changes, fetched: Fetched, context: LayerContext, plan: Plan
) -> tuple[list[str], list[LayerResult]]:
    """Takes every step that makes the home hold the plan: first those that only need the caches,
    then the install scripts, in order, then the check of everything.

    Returns the names of the models that were linked, and the layers that were made.
    """
    job, home = context.job, context.job.home
    # A home whose models cannot be linked is left as it was.
    links = links_to_make(job.lock.models, job.model_folders)
    marker = Marker(home, _begun(changes, context, plan))
    linked = link_models(links, job.lock.models)
    for node in changes.removed_nodes:
        _remove_node(home.custom_nodes / node)
        marker.forget(NODE_PREFIX + node)
    if any(layer.kind != "check" for layer in changes.pending):
        undo_install_scripts(home)
    if any(layer.kind == "check" for layer in changes.pending):
        undo_start(home)
    environment = [layer for layer in changes.pending if layer.kind in ENVIRONMENT]
    last = [layer for layer in changes.pending if layer.kind in ("install", "check")]
    others = [layer for layer in changes.pending if layer not in (*environment, *last)]
    done = (
        _make_beside_environment(environment, others, fetched, context, marker)
        if environment
        else [_make(layer, context, marker) for layer in others]
    )
    done += [_make(layer, context, marker) for layer in last]
    marker.complete(plan, job.model_folders.shared)
    shutil.rmtree(home.logs, ignore_errors=True)
    return linked, done


def check_entry(key: str, cache: Cache) -> Path:
    """The cache path of the result of the check with this key, existing or not: a result is valid
    for every home with these layers.
    """
    return cache.checks / key.replace(":", "-")


@dataclass(frozen=True, kw_only=True)
class KnownCheck:
    """The result of an earlier check, with the two files that it leaves in a home."""

    report: CheckReport
    object_info: bytes
    log: bytes


def known_check(
    layer: Layer, job: Realization, unmet_needs: Collection[str], *, leaving: Collection[str] = ()
) -> KnownCheck | None:
    """What the cache knows of the check that `layer` is, if it holds for this home.

    `unmet_needs` are needs of nodes that this machine does not meet, `leaving` the nodes of the
    home that are about to be removed.
    """
    if not _is_repeatable(job, leaving):
        return None
    entry = check_entry(layer.key, job.cache)
    try:
        known = KnownCheck(
            report=CheckReport.model_validate_json((entry / _REPORT_NAME).read_bytes()),
            object_info=(entry / OBJECT_INFO_IN_CACHE).read_bytes(),
            log=(entry / _LOG_NAME).read_bytes(),
        )
    except (FileNotFoundError, ValidationError):
        return None
    # Else it was made on a machine, or with variables, that lacked more.
    return known if set(known.report.unmet_needs) <= set(unmet_needs) else None


def _is_repeatable(job: Realization, leaving: Collection[str] = ()) -> bool:
    """False if the check's key does not cover all of the home: what install scripts do, nodes that
    were added by hand, and what the engine does to a writable environment.
    """
    nodes = {*(node.name for node in job.lock.custom_nodes), *leaving}
    return not (
        job.lock.run_install_scripts
        or job.lock.writable_environment
        or unmanaged_nodes(job.home, nodes)
    )


def _begun(changes: Changes, context: LayerContext, plan: Plan) -> Manifest:
    """Records which version the home is becoming, and that pending layers are not reliable."""
    earlier = changes.manifest
    layers = dict(earlier.layers) if earlier else {}
    layers |= {layer.name: BEGUN for layer in changes.pending if layer.name in layers}
    return manifest_of(
        context.job.lock, plan.platform, layers=layers, check=earlier.check if earlier else None
    )


def _remove_node(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def _make(layer: Layer, context: LayerContext, marker: Marker) -> LayerResult:
    started = time.monotonic()
    recalled = False
    if layer.kind == "check":
        recalled = _check(layer, context, marker)
    else:
        context.job.say(f"Layer {layer.name}")
        marker.begin(layer)
        if layer.kind == "install":
            context.job.say(run_install_script(layer, context).in_words())
        else:
            build_layer(layer, context)
    marker.finish(layer)
    return LayerResult(
        name=layer.name,
        outcome="recalled" if recalled else "built",
        seconds=time.monotonic() - started,
    )


def _make_beside_environment(
    environment: Sequence[Layer],
    others: Sequence[Layer],
    fetched: Fetched,
    context: LayerContext,
    marker: Marker,
) -> list[LayerResult]:
    """Makes `others` while the home gets its environment, which has many files.

    They only need an interpreter, and use that of the environment in the cache.
    """
    beside = replace(context, venv=environment_entry(environment, context.job.cache))
    parts: list[Callable[[], list[LayerResult]]] = [
        lambda: _put_environment(environment, fetched, context, marker),
        lambda: [_make(layer, beside, marker) for layer in others],
    ]
    return list(chain.from_iterable(in_parallel(lambda part: part(), parts, give_up=True)))


def _put_environment(
    layers: Sequence[Layer], fetched: Fetched, context: LayerContext, marker: Marker
) -> list[LayerResult]:
    """Puts the Python environment from the cache into the home, for the layers that share it."""
    started = time.monotonic()
    job = context.job
    marker.begin(*layers)
    with when_slow(job.say, f"Linking the Python environment into {job.home.root}"):
        mode = put_environment(layers, job.home, job.cache)
        if job.lock.writable_environment:
            own_environment(job.home)
            mode = "copy"
    marker.finish(*layers)
    if job.lock.writable_environment:
        job.say("Packages are copied from the cache, because the spec lets ComfyUI write to them")
    elif mode == "hardlink":
        job.say("Packages are hard-linked from the cache")
    else:
        job.say(
            f"Warning: {job.home.root} and the cache {job.cache.root} cannot share files: packages "
            "are copied. Put COMFY_CACHE_ROOT on the same volume to save space and time."
        )
    seconds = (time.monotonic() - started) / len(layers)
    return [
        LayerResult(
            name=layer.name,
            outcome="built" if layer.name in fetched.seconds else "recalled",
            seconds=seconds + fetched.seconds.get(layer.name, 0.0),
            link_mode=mode,
        )
        for layer in layers
    ]


def _check(layer: Layer, context: LayerContext, marker: Marker) -> bool:
    """Records the report of the check; returns whether it was known."""
    home, cache = context.job.home, context.job.cache
    # Before the engine starts, which may add nodes.
    repeatable = _is_repeatable(context.job)
    known = known_check(layer, context.job, marker.needs_unmet_here())
    if known is not None:
        report = known.report
        replace_file(home.object_info, known.object_info)
        replace_file(home.check_log, known.log)
    else:
        log = context.log_of(layer)
        context.job.say(f"Layer check: starting the engine once, with its output in {log}")
        home.check_log.unlink(missing_ok=True)
        damage = context.check_report.with_name(DAMAGE_NAME)
        damage.unlink(missing_ok=True)
        try:
            build_layer(layer, context)
        except ComfyError:
            if damage.exists():
                _forget_damaged(damage, context, marker)
            raise
        context.log_of(layer).replace(home.check_log)
        report = CheckReport.model_validate_json(context.check_report.read_bytes())
        if context.job.lock.writable_environment:
            write_listing(home.venv)
        if repeatable:
            _remember_check(layer.key, context.check_report, home, cache)
    if report.changed:
        context.job.say(report.changes_in_words)
    marker.set_check(report)
    for name, node in sorted(report.not_imported.items()):
        context.job.say(f"Warning: {node.in_words(name)}")
    return known is not None


def _forget_damaged(damage: Path, context: LayerContext, marker: Marker) -> None:
    """Removes an environment that a start changed from the caches, and has it made again here."""
    cache = context.job.cache
    plan = make_plan(context.job.lock, platform=this_platform())
    layers = [layer for layer in plan.layers if layer.kind in ENVIRONMENT]
    marker.begin(*layers)
    forget_environment(layers, json.loads(damage.read_bytes()), cache)
    context.job.say(
        "The changed packages were removed from the cache; homes made before may have them too: "
        "runpod-comfy realize ID --target HOME --verify"
    )


def _remember_check(key: str, report_file: Path, home: Home, cache: Cache) -> None:
    with cache.scratch("check") as folder:
        whole = folder / "entry"
        whole.mkdir()
        shutil.copyfile(report_file, whole / _REPORT_NAME)
        shutil.copyfile(home.object_info, whole / OBJECT_INFO_IN_CACHE)
        shutil.copyfile(home.check_log, whole / _LOG_NAME)
        # There may be one of a machine that lacked more.
        shutil.rmtree(check_entry(key, cache), ignore_errors=True)
        place_folder(whole, check_entry(key, cache))
