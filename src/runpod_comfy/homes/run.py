"""Lock → home: runs the plan of a lock on this machine, completely, resumably, once."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from comfy_errors import InvalidInputError
from comfy_files.files import disk_errors
from comfy_home.in_use import home_alone, home_in_use
from comfy_home.manifest import ChangedFile, CheckReport, NotImported, load_manifest
from comfy_home.platforms import this_platform
from runpod_comfy.cache.roots import is_recorded, record_models, record_root
from runpod_comfy.homes.changes import find_changes, require_space
from runpod_comfy.homes.fetch import fetch
from runpod_comfy.homes.home import Realization, manifest_for
from runpod_comfy.homes.install_scripts import InstallRecord, read_install_record
from runpod_comfy.homes.script import LayerContext, build_layer
from runpod_comfy.homes.steps import LayerResult, change_home
from runpod_comfy.homes.unavailable import refuse_missing
from runpod_comfy.layers.plan import INSTALL_PREFIX, Plan, make_plan
from runpod_comfy.lock.model import Lock


@dataclass(frozen=True, kw_only=True)
class RealizeResult:
    """A complete version at `target`. `linked` names models that were linked, `removed_nodes` nodes
    that were removed, `install_scripts` the scripts that ran now and their changes. `not_imported`
    are nodes that this machine, or that of the check, cannot import. `changed_by_start` are the
    files of the home that the start of the engine changed when the version was checked. `changed`
    is false if everything already existed.
    """

    version_id: str
    lock_digest: str
    target: Path
    models_dir: Path
    layers: tuple[LayerResult, ...]
    linked: tuple[str, ...]
    removed_nodes: tuple[str, ...]
    install_scripts: tuple[InstallRecord, ...]
    not_imported: Mapping[str, NotImported]
    changed_by_start: tuple[ChangedFile, ...]
    changed: bool
    seconds: float

    def again(self) -> RealizeResult:
        """The result of running the same realization again."""
        kept = [LayerResult(name=layer.name, outcome="kept", seconds=0.0) for layer in self.layers]
        return replace(
            self,
            layers=tuple(kept),
            linked=(),
            removed_nodes=(),
            install_scripts=(),
            changed=False,
            seconds=0.0,
        )

    def document(self) -> dict[str, object]:
        """The result as a JSON document."""
        return {
            **vars(self),
            "target": str(self.target),
            "models_dir": str(self.models_dir),
            "layers": [asdict(layer) for layer in self.layers],
            "not_imported": {name: it.model_dump() for name, it in self.not_imported.items()},
            "changed_by_start": [file.model_dump() for file in self.changed_by_start],
            "install_scripts": [record.document() for record in self.install_scripts],
            "seconds": round(self.seconds, 3),
        }


def realize(job: Realization) -> RealizeResult:
    """Makes the home hold the lock's version; does nothing if it already does.

    Can be killed at any moment and run again, and waits for engines and commands on the same home.
    Raises a ComfyError: InvalidInputError for a home that belongs to something else (left
    untouched), UnavailableError for anything out of reach, MismatchError for bytes that differ from
    the lock, OperationFailedError for a failed script or a full disk.
    """
    started = time.monotonic()
    plan = plan_here(job.lock)
    changes = find_changes(job, plan, manifest_for(job))
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
                manifest = manifest_for(job)
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
                    # Now the models folder is there.
                    _keep_caches(job)
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
    """Keeps what this home needs in the caches, even while it is unfinished: its lock, and the
    models folder that its models are linked from.
    """
    record_root(job.cache, kind="home", path=job.home.root, lock_bytes=job.lock.to_bytes())
    if job.lock.models:
        record_models(job.cache, job.model_folders.shared)


def check_start(job: Realization) -> CheckReport:
    """Runs the check in the home of `job`, whatever the cache knows, and returns its report.

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


def result_of(
    job: Realization,
    plan: Plan,
    *,
    done: Sequence[LayerResult],
    linked: Sequence[str],
    removed: Sequence[str],
    seconds: float,
) -> RealizeResult:
    """The result of a realization that made the layers `done`."""
    made = {layer.name: layer for layer in done}
    installed = [name for name in made if name.startswith(INSTALL_PREFIX)]
    manifest = load_manifest(job.home.root)
    check = manifest.check if manifest else None
    records = [
        read_install_record(job.home, name.removeprefix(INSTALL_PREFIX)) for name in installed
    ]
    return RealizeResult(
        version_id=job.lock.version_id,
        lock_digest=job.lock.digest,
        target=job.home.root,
        models_dir=job.model_folders.shared,
        layers=tuple(
            made.get(layer.name) or LayerResult(name=layer.name, outcome="kept", seconds=0.0)
            for layer in plan.layers
        ),
        linked=tuple(linked),
        removed_nodes=tuple(removed),
        install_scripts=tuple(record for record in records if record),
        not_imported=check.not_imported if check else {},
        changed_by_start=tuple(check.changed) if check else (),
        changed=bool(done or linked or removed),
        seconds=seconds,
    )
