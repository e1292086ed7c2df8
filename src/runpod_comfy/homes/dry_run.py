"""What a realization would do, for its user to read. The home is not changed."""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import dataclass

from runpod_comfy.homes.changes import Changes, find_changes
from runpod_comfy.homes.environment import Package, has_environment
from runpod_comfy.homes.home import Realization, manifest_for
from runpod_comfy.homes.run import plan_here
from runpod_comfy.homes.steps import known_check
from runpod_comfy.homes.unavailable import refuse_missing
from runpod_comfy.layers.inputs import manifest_of
from runpod_comfy.layers.plan import ENVIRONMENT, Plan
from runpod_comfy.lock.fetch import has_tree
from runpod_comfy.lock.model import LockedTree


@dataclass(frozen=True, kw_only=True)
class Preview:
    """The changes of a home, and what of them the caches lack: `trees`, with the names of their
    layers, and `packages`. `recalled` names the pending layers that come from the cache.
    """

    changes: Changes
    trees: tuple[tuple[str, LockedTree], ...]
    packages: tuple[Package, ...]
    recalled: tuple[str, ...]

    @property
    def package_bytes(self) -> int:
        """Bytes of the packages, as far as the lock has sizes."""
        return sum(each.size_bytes for each in self.packages)


def preview(job: Realization) -> Preview:
    """What `realize` would do now.

    Raises as `realize` does for a home that belongs to something else, and for anything that is
    missing: offline, or in the folder of wheels.
    """
    plan = plan_here(job.lock)
    changes = find_changes(job, plan, manifest_for(job))
    looks_into_cache = job.offline or job.wheels_dir is not None
    if not changes.is_nothing:
        with job.cache.using(job.say) if looks_into_cache else nullcontext():
            refuse_missing(job, changes)
    environment = [layer for layer in changes.pending if layer.kind in ENVIRONMENT]
    has_packages = bool(environment) and has_environment(environment, job.cache)
    recalled = {layer.name for layer in environment if has_packages}
    if _has_check(job, plan, changes):
        recalled.add("check")
    return Preview(
        changes=changes,
        trees=tuple(
            (layer.name, layer.tree)
            for layer in changes.pending
            if layer.tree and not has_tree(layer.tree, job.cache)
        ),
        packages=tuple(each for each in changes.packages if not (has_packages or each.cached)),
        recalled=tuple(layer.name for layer in changes.pending if layer.name in recalled),
    )


def _has_check(job: Realization, plan: Plan, changes: Changes) -> bool:
    check = next((layer for layer in changes.pending if layer.kind == "check"), None)
    if check is None:
        return False
    unmet = manifest_of(job.lock, plan.platform, layers={}).needs_unmet_here(os.environ)
    return known_check(check, job, unmet, leaving=changes.removed_nodes) is not None
