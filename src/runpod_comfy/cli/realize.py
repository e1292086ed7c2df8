"""`realize` and `run`: install a version on this machine, or show what that would take, and run
workflows there.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from comfy_errors import InvalidInputError, MismatchError
from comfy_errors.names import quantity
from comfy_files.progress import readable_size
from comfy_http.redaction import without_secrets
from rp_handler.run_request import RunRequest, add_run_options, add_ui_option, make_request
from runpod_comfy.cli.options import (
    Subparsers,
    add_command,
    add_realize_options,
    add_update_option,
    add_version,
    given,
    named_version,
)
from runpod_comfy.cli.show.console import Console
from runpod_comfy.cli.unchanged import request_of, tell

if TYPE_CHECKING:
    from runpod_comfy.homes.dry_run import Preview
    from runpod_comfy.homes.home import Realization
    from runpod_comfy.homes.run import RealizeResult
    from runpod_comfy.homes.verify.trees import Verification

_EXAMPLES = """\
  runpod-comfy realize demo
  runpod-comfy realize --version-id demo --dry-run
  runpod-comfy realize --version-id demo --target /runpod-volume/comfy-demo \\
    --models-dir /workspace/models --wheels-dir /workspace/wheels
"""
_RUN_EXAMPLES = """\
  runpod-comfy run --version-id demo --workflow workflows/example.json --output files
  runpod-comfy run --version-id demo --workflow workflows/minimal.json --output base64
  runpod-comfy run --version-id demo --workflow workflows/example.json --update
  runpod-comfy run --version-id demo --ui
"""


def add_parser(commands: Subparsers) -> None:
    _add_realize(commands)
    _add_run(commands)


def _add_realize(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "realize",
        run=_run,
        summary="Install a version here: ComfyUI, its nodes, its packages, its models.",
        details="Does nothing if everything is there. If interrupted, run it again to continue.",
        examples=_EXAMPLES,
    )
    add_version(parser)
    add_realize_options(parser)
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument(
        "--dry-run", action="store_true", help="show what would be done, and change nothing"
    )
    modes.add_argument(
        "--verify",
        action="store_true",
        help="compare every byte here and in the caches with the lock, and change nothing; "
        "exit 4 if something differs",
    )
    modes.add_argument(
        "--repair",
        action="store_true",
        help="verify, remove what differs, and make it again",
    )
    add_update_option(modes)
    parser.add_argument(
        "--prove",
        action="store_true",
        help="then try the machine, the engine, and each workflow that has a baseline; the exit "
        "code is that of the first that fails",
    )


def _run(arguments: argparse.Namespace, console: Console) -> int:
    if arguments.prove and (arguments.dry_run or arguments.verify):
        mode = "--dry-run" if arguments.dry_run else "--verify"
        raise InvalidInputError(
            f"{mode} realizes nothing that --prove could try", remedy="Leave out one of the two."
        )
    request = request_of(arguments)
    if request is not None and request.answer(console):
        return 0

    from runpod_comfy.homes.dry_run import preview

    # A lock that is made only now is no basis for a verification.
    offline = arguments.offline or arguments.verify
    job = find_job(arguments, console, offline=offline, dry_run=arguments.dry_run)
    if arguments.verify:
        return _verify(job, console)
    if arguments.dry_run:
        previewed = preview(job)
        console.result(_preview_text(job, previewed), _preview_document(job, previewed))
        return 0
    found = _repair(job, console) if arguments.repair else None
    if found is not None and found.own_models:
        console.result("", found.document())
        return _report_left_alone(found, console)
    result = realize_visibly(job, console)
    if request is not None:
        request.note(job, result)
    code, gates = _prove(job, arguments, console) if arguments.prove else (0, {})
    tell(result.document() | gates, console)
    left_alone = _report_left_alone(found, console) if found is not None else 0
    return code or left_alone


def _prove(
    job: Realization, arguments: argparse.Namespace, console: Console
) -> tuple[int, dict[str, object]]:
    """Tries the gates; the exit code, and what they add to the document."""
    from runpod_comfy.cli.proof.gates import pass_gates

    gates = pass_gates(job, arguments, console)
    last = gates[-1]
    if last.error is not None:
        console.say(f"The home stays realized.\n  → {last.error.remedy}".removesuffix("\n  → "))
    return last.exit_code, {"gates": [gate.document() for gate in gates]}


def find_job(arguments: argparse.Namespace, console: Console, **changes: Any) -> Realization:
    """The realization that the options of `add_version` and `add_realize_options` ask for."""
    from comfy_files.progress import UNSEEN
    from runpod_comfy.api.homes import find_realization

    where = ("spec", "lock", "target", "models_dir", "wheels_dir", "project")
    how = ("offline", "update")
    with console.arrivals() as (say, progress):
        job = find_realization(
            named_version(arguments),
            **{**given(arguments, *where, *how), **changes},
            say=say,
            explain=console.explain,
            progress=progress,
            show=console.script_output,
        )
    return replace(job, say=console.say, progress=UNSEEN)


def realize_visibly(job: Realization, console: Console) -> RealizeResult:
    """Realizes; on a terminal a status line shows progress, unless scripts' output is shown."""
    from runpod_comfy.homes.run import realize

    with console.arrivals() as (say, progress):
        return realize(replace(job, say=say, progress=progress))


def _verify(job: Realization, console: Console) -> int:
    from runpod_comfy.homes.verify.home import verify

    found = verify(job)
    _tell_faults(found, console)
    console.result("" if found.faults else _verified(found), found.document())
    if not found.faults:
        return 0
    if found.own_models or not found.repairable:
        return _report_left_alone(found, console)
    error = MismatchError(
        f"{job.target} differs from its lock in {quantity(len(found.faults), 'place')}",
        remedy="To fix it, run the command with --repair instead of --verify.",
    )
    console.say(error.in_words())
    return error.exit_code


def _repair(job: Realization, console: Console) -> Verification:
    from runpod_comfy.homes.verify.home import restore_marker, take_away, verify

    if restore_marker(job):
        console.say(
            f"The marker {job.home.marker} was lost or damaged: the whole version is made again"
        )
    found = verify(job)
    _tell_faults(found, console)
    if not found.faults:
        console.say(_verified(found))
    elif not found.own_models:
        # With one of these in the way, nothing could be made again.
        take_away(found, job)
    return found


def _report_left_alone(found: Verification, console: Console) -> int:
    """Reports what the user added; --repair does not remove it."""
    reports = [
        (found.unmanaged, "or name it in the spec's custom_nodes, then resolve and realize"),
        (sorted(found.own_models), "then realize with --repair, which links the version's own"),
    ]
    for paths, otherwise in reports:
        if paths:
            names = ", ".join(map(str, paths))
            error = MismatchError(
                f"not part of this version, left alone because it was added by hand: {names}",
                remedy=f"Move it away, {otherwise}.",
            )
            console.say(error.in_words())
    return MismatchError.exit_code if found.unmanaged or found.own_models else 0


def _tell_faults(found: Verification, console: Console) -> None:
    for note in found.notes:
        console.say(f"Note: {note}")
    for fault in found.faults:
        console.say(
            f"{fault.part}: {fault.path}\n  expected {fault.expected}\n  found    {fault.found}"
        )


def _verified(found: Verification) -> str:
    size = readable_size(found.checked_bytes)
    return f"verified: {quantity(found.checked_files, 'file')}, {size}, in {found.seconds:.1f} s"


def _preview_text(job: Realization, previewed: Preview) -> str:
    changes, packages = previewed.changes, previewed.packages
    lines = [f"{job.lock.version_id} → {job.target}"]
    if not (changes.pending or changes.models or changes.links or changes.removed_nodes):
        return "\n".join([*lines, "nothing to do"])
    if packages:
        of_all = quantity(len(changes.packages), "Python package")
        size = readable_size(previewed.package_bytes)
        to_fetch = [f"fetch  {len(packages)} of {of_all}, {size}"]
    else:
        to_fetch = []
    lines += [
        *(f"keep   layer {name}" for name in changes.kept),
        *(
            f"fetch  {name}: {without_secrets(tree.repo)} at {tree.commit}"
            for name, tree in previewed.trees
        ),
        *to_fetch,
        *(
            f"fetch  model {model.name}: {without_secrets(model.sources[0].url)}, "
            f"{readable_size(model.size)}"
            for model in changes.models
        ),
        *(
            f"{'recall' if layer.name in previewed.recalled else 'build '} layer {layer.name}"
            for layer in changes.pending
        ),
        *(f"link   model {name}" for name in changes.links),
        *(f"remove custom node {name}" for name in changes.removed_nodes),
    ]
    total = readable_size(previewed.package_bytes + changes.model_bytes)
    return "\n".join([*lines, f"{total} to fetch in total; nothing was changed"])


def _preview_document(job: Realization, previewed: Preview) -> dict[str, object]:
    changes = previewed.changes
    return {
        "version_id": job.lock.version_id,
        "lock_digest": job.lock.digest,
        "target": job.target,
        "layers": [layer.name for layer in changes.pending],
        "recalled_layers": previewed.recalled,
        "kept_layers": changes.kept,
        "trees": [
            {"layer": name, "repo": tree.repo, "commit": tree.commit}
            for name, tree in previewed.trees
        ],
        "packages": [each.files[0].name for each in previewed.packages if each.files],
        "package_bytes": previewed.package_bytes,
        "models": [model.name for model in changes.models],
        "model_bytes": changes.model_bytes,
        "links": changes.links,
        "removed_nodes": changes.removed_nodes,
    }


def _add_run(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "run",
        run=_realize_and_run,
        summary="Run a workflow on a version, headless, or serve the version's own page.",
        details="The version is realized first if it is not. The workflow {} is a smoke test.\n"
        "A folder that was edited since it was locked is reported; --update runs it as it is now.",
        examples=_RUN_EXAMPLES,
    )
    add_version(parser)
    add_realize_options(parser)
    add_update_option(parser)
    add_run_options(parser)
    add_ui_option(parser)


def _realize_and_run(arguments: argparse.Namespace, console: Console) -> int:
    from comfy_workflows.graph import load_workflow
    from rp_handler.main import execute

    request = run_request(arguments)
    if request.workflow is not None:
        # Checked first, so that a mistake does not cost the minutes of a first realization.
        load_workflow(request.workflow)
    job = find_job(arguments, console)
    realize_visibly(job, console)
    return execute(replace(request, version_id=job.lock.version_id, home=job.target))


def run_request(arguments: argparse.Namespace) -> RunRequest:
    """The run that the options of `run` ask for. Raises as `make_request` does."""
    options = ("workflow", "models_dir", "output", "output_dir", "ui", "port", "as_json", "verbose")
    return make_request(
        os.environ,
        version_id=named_version(arguments),
        **given(arguments, *options, "provenance"),
        timeout_s=arguments.timeout,
    )
