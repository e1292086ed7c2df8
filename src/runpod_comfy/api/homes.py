"""Versions on this machine: realizing them, and running workflows on them."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from comfy_errors import InvalidInputError, UnavailableError
from comfy_files.progress import UNSEEN, Progress, Say, say_nothing
from comfy_home.layout import find_home
from runpod_comfy.api.arguments import checked
from runpod_comfy.api.versions import keep_cache_for, select
from runpod_comfy.api.workspace import StrPath, as_path, find_models_dir
from runpod_comfy.cache.paths import Cache
from runpod_comfy.homes.home import Realization
from runpod_comfy.homes.run import RealizeResult
from runpod_comfy.homes.run import realize as realize_job


@checked
def realize(
    version_id: str | None = None,
    *,
    spec: StrPath | None = None,
    lock: StrPath | None = None,
    target: StrPath | None = None,
    models_dir: StrPath | None = None,
    wheels_dir: StrPath | None = None,
    offline: bool = False,
    project: StrPath | None = None,
    update: bool = False,
    say: Say = say_nothing,
    progress: Progress = UNSEEN,
) -> RealizeResult:
    """Installs a version on this machine, in `target` (`COMFY_HOME`, then `~/comfy-<id>`); resolves
    it first if no lock matches its spec. Does nothing if everything is there.

    `models_dir` is a shared models folder (`MODELS_DIR`, then the home's own), and `wheels_dir` the
    only source of packages. `update` resolves again if a folder of the version was changed since it
    was locked. `progress` counts what has arrived. Raises what `resolve` raises, and:
    InvalidInputError for a home that belongs to something else, UnavailableError for anything out
    of reach, MismatchError for bytes that differ from the lock, OperationFailedError for a failed
    script or a full disk.
    """
    return realize_job(
        find_realization(
            version_id,
            spec=spec,
            lock=lock,
            target=target,
            models_dir=models_dir,
            wheels_dir=wheels_dir,
            offline=offline,
            project=project,
            update=update,
            say=say,
            progress=progress,
        )
    )


def find_realization(
    version_id: str | None = None,
    *,
    spec: StrPath | None = None,
    lock: StrPath | None = None,
    target: StrPath | None = None,
    models_dir: StrPath | None = None,
    wheels_dir: StrPath | None = None,
    offline: bool = False,
    project: StrPath | None = None,
    update: bool = False,
    dry_run: bool = False,
    say: Say = say_nothing,
    explain: Say = say_nothing,
    progress: Progress = UNSEEN,
    show: BinaryIO | None = None,
) -> Realization:
    """The realization that these arguments ask for, without running it.

    With `dry_run` a new lock is not written, and nothing is recorded in the cache. Scripts' output
    goes to `show`.
    """
    at = f" --target {shlex.quote(str(as_path(target)))}" if target else ""
    selected = select(
        version_id,
        spec=spec,
        lock=lock,
        project=project,
        offline=offline,
        update=update,
        write=not dry_run,
        # Also for `run`, which would need its workflow too.
        command=f"realize {{}}{at} --update",
        say=say,
        explain=explain,
        progress=progress,
    )
    cache = Cache.from_environment()
    if not dry_run:
        keep_cache_for(selected, cache, say)
    wheels = as_path(wheels_dir)
    if wheels and wheels.exists() and not wheels.is_dir():
        raise InvalidInputError(
            f"{wheels} is not a folder", remedy="Name a folder of wheels with --wheels-dir."
        )
    if wheels and not wheels.is_dir():
        raise UnavailableError(
            f"there is no folder {wheels}",
            remedy="Name a folder of wheels with --wheels-dir, or leave it out.",
        )
    return Realization(
        lock=selected.lock,
        base_dir=selected.base_dir,
        target=find_home(selected.lock.version_id, as_path(target), os.environ),
        cache=cache,
        models_dir=find_models_dir(models_dir),
        wheels_dir=wheels.absolute() if wheels else None,
        offline=offline,
        say=say,
        progress=progress,
        show=show,
    )


@checked
def run(
    version_id: str | None = None,
    *,
    workflow: StrPath,
    output: str = "files",
    output_dir: StrPath | None = None,
    timeout_s: float | None = None,
    target: StrPath | None = None,
    models_dir: StrPath | None = None,
    offline: bool = False,
    project: StrPath | None = None,
    update: bool = False,
    provenance: bool = False,
    say: Say = say_nothing,
    on_progress: Callable[[Any], None] = lambda _progress: None,
) -> dict[str, Any]:
    """Realizes a version if needed, runs a workflow file on it, headless, and returns the result:
    the document that `--json` prints, described in docs/contracts.md.

    `output` is `files`, written to `output_dir` (`outputs`), `base64`, `gcs` or `s3`. `update`
    resolves again if a folder of the version was changed since it was locked. With
    `provenance`, the result and its pictures say what they were made from. `on_progress` receives
    the state of the run: an `rp_handler.engine.prompt.Progress`. Raises what `realize`
    raises, InvalidInputError for a workflow that cannot run on this version, OperationFailedError
    for one that fails.
    """
    from comfy_workflows.graph import load_workflow
    from rp_handler.engine.prompt import Listener
    from rp_handler.main import perform
    from rp_handler.run_request import make_request

    request = make_request(
        os.environ,
        version_id=version_id,
        workflow=Path(workflow),
        models_dir=as_path(models_dir),
        output=output,
        output_dir=as_path(output_dir),
        timeout_s=timeout_s,
        provenance=provenance,
    )
    assert request.workflow is not None, "one was passed"
    # Checked first, so that a mistake does not cost the minutes of a first realization.
    load_workflow(request.workflow)
    job = find_realization(
        version_id,
        target=target,
        models_dir=models_dir,
        offline=offline,
        project=project,
        update=update,
        say=say,
    )
    home = realize_job(job)
    result = perform(
        replace(request, version_id=home.version_id, home=home.target),
        Listener(say=say, progress=on_progress),
    )
    assert not isinstance(result, int), "only what serves ends with a code"
    return result
