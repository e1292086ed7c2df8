"""Lock → home: runs the plan of a lock on this machine, completely, resumably, once."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace

from comfy_errors import InvalidInputError
from comfy_files.files import disk_errors
from comfy_home.in_use import home_alone, home_in_use
from comfy_home.manifest import CheckReport
from comfy_home.platforms import this_platform
from runpod_comfy.cache.roots import is_recorded, record_home
from runpod_comfy.homes.changes import find_changes, require_space
from runpod_comfy.homes.fetch import fetch
from runpod_comfy.homes.home import manifest_for
from runpod_comfy.homes.job import LayerContext, Realization
from runpod_comfy.homes.result import LayerResult, RealizeResult, result_of
from runpod_comfy.homes.script import build_layer
from runpod_comfy.homes.steps import change_home
from runpod_comfy.homes.unavailable import refuse_missing
from runpod_comfy.layers.plan import Plan, make_plan
from runpod_comfy.lock.model import Lock


def realize(job: Realization) -> RealizeResult:
    """Makes the home hold the lock's version; does nothing if it already does.

    Can be killed at any moment and run again, and waits for engines and commands on the same home.
    Raises a ComfyError: InvalidInputError for a home that belongs to something else (left
    untouched), UnavailableError for anything out of reach, MismatchError for bytes that differ from
    the lock, OperationFailedError for a failed script or a full disk.
    """
    started = time.monotonic()
    plan = plan_here(job.lock)
    changes = find_changes(job, plan, manifest_for(job.home, job.lock.version_id))
    done: list[LayerResult] = []
    linked: list[str] = []
    if changes.is_nothing:
        # A home may be older than the cache, or made with another one.
        if not is_recorded(job.cache, job.home.root):
            with job.cache.using(job.say):
                _keep_caches(job)
    else:
        with disk_errors(f"{job.target} could not be made"), job.cache.using(job.say) as cache_fd:
            context = LayerContext(
                job=job,
                venv=job.home.venv,
                logs=job.home.logs,
                packages=changes.packages,
                lock_fds=() if cache_fd is None else (cache_fd,),
            )
            refuse_missing(job, changes)
            require_space(job, changes)
            fetched = fetch(changes, context)
            with home_alone(job.home.root, job.say) as home_fd:
                manifest = manifest_for(job.home, job.lock.version_id)
                if manifest != changes.manifest:
                    # Another command has changed the home meanwhile.
                    changes = find_changes(job, plan, manifest)
                    context = replace(context, packages=changes.packages)
                    fetched = fetch(changes, context)
                _keep_caches(job)
                if not changes.is_nothing:
                    context = replace(
                        context, trees=fetched.trees, lock_fds=(home_fd, *context.lock_fds)
                    )
                    linked, done = change_home(changes, fetched, context, plan)
    return result_of(
        job,
        plan,
        done=done,
        linked=linked,
        removed=changes.removed_nodes,
        seconds=time.monotonic() - started,
    )


def plan_here(lock: Lock) -> Plan:
    """The plan of a lock for this machine.

    Raises InvalidInputError if the lock is not made for it.
    """
    platform = this_platform()
    if platform not in lock.python.platforms:
        raise InvalidInputError(
            f"the version {lock.version_id} is locked for {', '.join(lock.python.platforms)}, "
            f"but this machine is {platform}",
            remedy="Add it to 'options.platforms' in the spec and resolve again.",
        )
    return make_plan(lock, platform=platform)


def _keep_caches(job: Realization) -> None:
    """Keeps what this home needs in the caches, even while it is unfinished."""
    record_home(
        job.cache,
        job.home.root,
        lock_bytes=job.lock.to_bytes(),
        models_dir=job.model_folders.shared if job.lock.models else None,
    )


def check_start(job: Realization) -> CheckReport:
    """Runs the check in the home of `job`, and returns its report.

    Raises OperationFailedError if the engine does not start, a node does not import, or the start
    changes the Python environment; the engine's output is then in the home.
    """
    layer = next(layer for layer in plan_here(job.lock).layers if layer.kind == "check")
    home = job.home
    context = LayerContext(job=job, venv=home.venv, logs=home.logs, packages=(), lock_fds=())
    with home_in_use(home.root, job.say):
        build_layer(layer, context)
        report = CheckReport.model_validate_json(context.check_report.read_bytes())
        shutil.rmtree(home.logs, ignore_errors=True)
    return report
