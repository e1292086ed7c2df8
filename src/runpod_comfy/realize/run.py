"""Lock → home: runs the plan of a lock on this machine, whole, resumable, once."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace

from comfy_errors import InvalidInputError
from comfy_files.disk import disk_errors
from comfy_home.platforms import this_platform
from runpod_comfy.cache.roots import is_recorded, record_root
from runpod_comfy.cache.use import using
from runpod_comfy.layers.plan import Plan, make_plan
from runpod_comfy.lock.model import Lock
from runpod_comfy.realize.changes import Changes, find_changes, require_room
from runpod_comfy.realize.fetch import Fetched, fetch
from runpod_comfy.realize.home import Marker, held, manifest_for
from runpod_comfy.realize.job import LayerContext, Realization
from runpod_comfy.realize.models import link_models
from runpod_comfy.realize.result import LayerResult, RealizeResult, result_of
from runpod_comfy.realize.steps import make_layers, remove_nodes
from runpod_comfy.realize.unavailable import refuse_missing


def realize(job: Realization) -> RealizeResult:
    """Makes the home hold the lock's version; does nothing if it does already.

    Can be killed at any moment and run again, and waits for another one on the same home.
    Raises a ComfyError: InvalidInputError for a home that is someone else's (left untouched),
    UnavailableError for what is out of reach, MismatchError for bytes that are not the locked
    ones, OperationFailedError for a script that failed or a disk that is full.
    """
    started = time.monotonic()
    plan = plan_here(job.lock)
    changes = find_changes(job, plan)
    done: list[LayerResult] = []
    linked: list[str] = []
    if changes.is_nothing:
        # A home may be older than the cache, or have been made with another one.
        if not is_recorded(job.cache, job.home.root):
            with using(job.cache, job.say):
                _record_roots(job)
    else:
        with disk_errors("the disk refused"), using(job.cache, job.say) as cache_fd:
            refuse_missing(job, changes)
            require_room(job, changes)
            context = LayerContext(
                job=job,
                venv=job.home.venv,
                logs=job.home.logs,
                lock_fds=() if cache_fd is None else (cache_fd,),
            )
            fetched = fetch(changes, context)
            with held(job.home, job.say) as home_fd:
                if manifest_for(job.home, job.lock.version_id) != changes.manifest:
                    # Another command has changed the home meanwhile.
                    changes = find_changes(job, plan)
                    fetched = fetch(changes, context)
                _record_roots(job)
                if not changes.is_nothing:
                    context = replace(
                        context, trees=fetched.trees, lock_fds=(home_fd, *context.lock_fds)
                    )
                    linked, done = _change_home(changes, fetched, context, plan)
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
            f"and this machine is {platform}",
            remedy="Add it to 'options.platforms' in the spec and resolve again.",
        )
    return make_plan(lock, platform=platform)


def _change_home(
    changes: Changes, fetched: Fetched, context: LayerContext, plan: Plan
) -> tuple[list[str], list[LayerResult]]:
    """Takes every step; gives the models that were linked and the layers that were made."""
    job = context.job
    marker = Marker.open(
        job.home, changes.manifest, job.lock, changes.pending, platform=plan.platform
    )
    linked = link_models(job.lock.models, job.places)
    remove_nodes(changes.removed_nodes, marker, job.home)
    done = make_layers(changes.pending, fetched, context, marker)
    marker.complete(plan, job.places.models_dir)
    shutil.rmtree(job.home.logs, ignore_errors=True)
    return linked, done


def _record_roots(job: Realization) -> None:
    """What this home needs stays in the caches: also while it is unfinished."""
    record_root(job.cache, kind="home", path=job.home.root, lock_bytes=job.lock.to_bytes())
    if job.lock.models:
        record_root(job.cache, kind="models", path=job.places.models_dir)
