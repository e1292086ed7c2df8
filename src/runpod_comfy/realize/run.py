"""Lock → home: runs the plan of a lock on this machine, whole, resumable, once."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from comfy_errors import InvalidInputError
from comfy_files.disk import disk_errors
from comfy_files.progress import Say, say_nothing
from comfy_home.manifest import Manifest
from comfy_home.platforms import this_platform
from comfy_models.store import ModelStore
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.roots import is_recorded, record_root
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.cache.use import using
from runpod_comfy.layers.layer import Layer
from runpod_comfy.layers.plan import Plan, make_plan
from runpod_comfy.lock.install_scripts import require_install_scripts
from runpod_comfy.lock.model import Lock
from runpod_comfy.realize.build import LayerContext
from runpod_comfy.realize.home import Home, held, manifest_for
from runpod_comfy.realize.install.record import InstallRecord, read_install_record
from runpod_comfy.realize.marker import Marker
from runpod_comfy.realize.prepare.estimate import Estimate, estimate, require_room
from runpod_comfy.realize.prepare.fetch_all import fetch_inputs
from runpod_comfy.realize.prepare.models import ModelPlaces, are_linked, link_models
from runpod_comfy.realize.prepare.outdated_layers import (
    INSTALL_PREFIX,
    NODE_PREFIX,
    gone_nodes,
    outdated_layers,
)
from runpod_comfy.realize.prepare.progress import UNSEEN, Progress
from runpod_comfy.realize.prepare.unavailable import refuse_missing
from runpod_comfy.realize.result import LayerResult, RealizeResult
from runpod_comfy.realize.steps import make_checks, make_layers, remove_nodes


@dataclass(frozen=True, kw_only=True)
class Realization:
    """A lock, where it goes, and from what.

    `base_dir` is the folder of the spec, which relative sources are from. `models_dir` is the
    shared models folder, None for the home's own. `wheels_dir` is the only place that packages
    come from, if given. `progress` is told what arrives. Scripts' output goes to `show` as it
    comes, besides to their logs.
    """

    lock: Lock
    target: Path
    base_dir: Path
    cache: Cache
    models_dir: Path | None = None
    wheels_dir: Path | None = None
    offline: bool = False
    say: Say = say_nothing
    progress: Progress = UNSEEN
    show: BinaryIO | None = None

    @property
    def home(self) -> Home:
        return Home(root=self.target.absolute())

    @property
    def places(self) -> ModelPlaces:
        return ModelPlaces(
            store=ModelStore(self.cache.models),
            models_dir=(self.models_dir or self.home.models).absolute(),
            home=self.home,
        )

    @property
    def fetch_context(self) -> FetchContext:
        return FetchContext(
            cache=self.cache, base_dir=self.base_dir, offline=self.offline, say=self.say
        )


def realize(job: Realization) -> RealizeResult:
    """Makes the home hold the lock's version; does nothing if it does already.

    Can be killed at any moment and run again, and waits for another one on the same home.
    Raises a ComfyError: InvalidInputError for a home that is someone else's (left untouched),
    UnavailableError for what is out of reach, MismatchError for bytes that are not the locked
    ones, OperationFailedError for a script that failed or a disk that is full.
    """
    started = time.monotonic()
    plan = plan_here(job.lock)
    manifest = manifest_for(job.home, job.lock.version_id)
    if _is_whole(job, plan, manifest):
        if not is_recorded(job.cache, job.home.root):
            # Made by an earlier program, or with another cache.
            with using(job.cache, job.say):
                _record_roots(job)
        return _result(job, plan, seconds=time.monotonic() - started)
    with disk_errors("the disk refused"), using(job.cache, job.say) as cache_fd:
        pending = outdated_layers(plan, manifest, job.home)
        _refuse_strangers(pending, manifest, job.home)
        refuse_missing(
            job.lock,
            pending,
            places=job.places,
            fetch_context=job.fetch_context,
            wheels_dir=job.wheels_dir,
        )
        require_room(_estimate(job, plan, manifest), job.home, job.places, job.cache)
        fetched = fetch_inputs(
            pending,
            job.lock.models,
            places=job.places,
            fetch_context=job.fetch_context,
            context=_layer_context(job, {}, _descriptors(cache_fd)),
        )
        require_install_scripts(_trees_with_scripts(job.lock, fetched.trees))
        with held(job.home, job.say) as home_fd:
            if manifest_for(job.home, job.lock.version_id) == manifest:
                _record_roots(job)
                marker = Marker.open(job.home, manifest, job.lock, pending, platform=plan.platform)
                linked = link_models(job.lock.models, job.places)
                context = _layer_context(job, fetched.trees, _descriptors(home_fd, cache_fd))
                removed = remove_nodes(gone_nodes(plan, manifest), marker, job.home)
                done = make_layers(pending, fetched, context, marker)
                done += make_checks(pending, context, marker)
                marker.complete(job.lock, plan, str(job.places.models_dir))
                shutil.rmtree(job.home.logs, ignore_errors=True)
                seconds = time.monotonic() - started
                return _result(
                    job, plan, done=done, linked=linked, removed=removed, seconds=seconds
                )
    # Another command has changed the home meanwhile.
    return realize(job)


def estimate_realize(job: Realization) -> Estimate:
    """What `realize` would do, without touching anything. Raises what can be told beforehand."""
    plan = plan_here(job.lock)
    manifest = manifest_for(job.home, job.lock.version_id)
    return _estimate(job, plan, manifest)


def plan_here(lock: Lock) -> Plan:
    """The plan of a lock for this machine.

    Raises InvalidInputError if the lock is not made for it.
    """
    platform = this_platform()
    if platform not in lock.python.platforms:
        raise InvalidInputError(
            f"the version {lock.version_id} is locked for {', '.join(lock.python.platforms)}, "
            f"and this machine is {platform}",
            remedy="Add it to 'options.platforms' in the spec and resolve again.",
        )
    return make_plan(lock, platform=platform)


def _estimate(job: Realization, plan: Plan, manifest: Manifest | None) -> Estimate:
    return estimate(job.lock, plan, manifest, job.places, job.cache)


def _is_whole(job: Realization, plan: Plan, manifest: Manifest | None) -> bool:
    return (
        manifest is not None
        and manifest.complete
        and manifest.lock_digest == job.lock.digest
        and manifest.models_dir == str(job.places.models_dir)
        and not outdated_layers(plan, manifest, job.home)
        and are_linked(job.lock.models, job.home)
    )


def _refuse_strangers(pending: Sequence[Layer], manifest: Manifest | None, home: Home) -> None:
    """Raises InvalidInputError if a node's folder is taken by something not made by us."""
    known = manifest.layers if manifest else {}
    for layer in pending:
        folder = home.custom_nodes / layer.name.removeprefix(NODE_PREFIX)
        if layer.kind == "node" and layer.name not in known and os.path.lexists(folder):
            raise InvalidInputError(
                f"{folder} is there already and was not made for this version; it was left alone",
                remedy="Move it away, or give the node another name in the spec.",
            )


def _record_roots(job: Realization) -> None:
    """What this home needs stays in the caches: also while it is unfinished."""
    record_root(job.cache, kind="home", path=job.home.root, lock_bytes=job.lock.to_bytes())
    if job.lock.models:
        record_root(job.cache, kind="models", path=job.places.models_dir)


def _trees_with_scripts(lock: Lock, trees: Mapping[str, Path]) -> dict[str, Path]:
    """The fetched trees whose install.py is to run, by the name of the node."""
    return {
        node.name: trees[node.tree_hash]
        for node in lock.custom_nodes
        if node.name in lock.run_install_scripts and node.tree_hash in trees
    }


def _descriptors(*descriptors: int | None) -> tuple[int, ...]:
    return tuple(each for each in descriptors if each is not None)


def _layer_context(
    job: Realization, trees: Mapping[str, Path], lock_fds: tuple[int, ...]
) -> LayerContext:
    return LayerContext(
        home=job.home,
        venv=job.home.venv,
        logs=job.home.logs,
        cache=job.cache,
        python=job.lock.python,
        trees=trees,
        wheels_dir=job.wheels_dir,
        offline=job.offline,
        say=job.say,
        progress=job.progress,
        show=job.show,
        lock_fds=lock_fds,
    )


def _result(
    job: Realization,
    plan: Plan,
    *,
    seconds: float,
    done: Sequence[LayerResult] = (),
    linked: Sequence[str] = (),
    removed: Sequence[str] = (),
) -> RealizeResult:
    made = {layer.name: layer for layer in done}
    layers = [
        made.get(layer.name) or LayerResult(name=layer.name, outcome="kept", seconds=0.0)
        for layer in plan.layers
    ]
    return RealizeResult(
        version_id=job.lock.version_id,
        lock_digest=job.lock.digest,
        target=job.home.root,
        models_dir=job.places.models_dir,
        layers=tuple(layers),
        linked=tuple(linked),
        removed_nodes=tuple(removed),
        install_scripts=_install_records(job.home, done),
        changed=bool(done or linked or removed),
        seconds=seconds,
    )


def _install_records(home: Home, done: Sequence[LayerResult]) -> tuple[InstallRecord, ...]:
    nodes = [
        layer.name.removeprefix(INSTALL_PREFIX)
        for layer in done
        if layer.name.startswith(INSTALL_PREFIX)
    ]
    return tuple(record for node in nodes if (record := read_install_record(home, node)))
