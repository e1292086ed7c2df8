"""`repro`: records the outputs of a workflow as its baseline, or compares a run with it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_errors import InvalidInputError
from comfy_errors.names import listed, quantity
from comfy_files.user_paths import expanded
from rp_handler.run_request import named_path, port_number
from runpod_comfy.cli.options import (
    Subparsers,
    add_command,
    add_realize_options,
    add_update_option,
    add_version,
)
from runpod_comfy.cli.proof.reports import report_on_baseline, require_files, write_page
from runpod_comfy.cli.proof.runs import EXPLAIN_HELP, explained, runner_of
from runpod_comfy.cli.proof.show import mismatch, say_circumstances, table
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from comfy_workflows.compare.baseline import Recording
    from comfy_workflows.compare.compare import Comparison
    from comfy_workflows.compare.run import Run

TOLERANCE_HELP = (
    "accept this difference: max=N steps of 255 of a channel, psnr=DB, ssim=S, several with commas"
)

REPORT_HELP = "write a page that shows both runs side by side: one HTML file"

_DETAILS = """\
Outputs are equal if what they show is equal: pixels, frames, samples. Metadata, names and
compression do not count. A baseline has an entry for each device that recorded one. The entry of
this device is compared; with --tolerance that of another one is used if there is none.
Exit code 4 if an output differs, 3 without a baseline or an entry."""

_EXAMPLES = """\
  runpod-comfy repro demo --workflow workflows/example.json --mode record
  runpod-comfy repro demo --workflow workflows/example.json
  runpod-comfy repro demo --workflow workflows/example.json --tolerance max=1
  runpod-comfy repro demo --workflow workflows/example.json --explain
  runpod-comfy repro demo --workflow workflows/example.json --image runpod-comfy:demo
"""


def add_parser(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "repro",
        run=_run,
        summary="Record the outputs of a workflow as its baseline, or compare a run with it.",
        details=_DETAILS,
        examples=_EXAMPLES,
    )
    add_version(parser)
    add_realize_options(parser)
    add_update_option(parser)
    add = parser.add_argument
    add(
        "--workflow",
        type=named_path,
        metavar="FILE",
        required=True,
        help="a graph in the API format",
    )
    add(
        "--baseline",
        type=named_path,
        metavar="FILE",
        help="default: x.baseline.json beside the workflow x.json",
    )
    add("--mode", choices=("record", "compare"), default="compare", help="default: compare")
    add("--tolerance", metavar="BOUNDS", help=TOLERANCE_HELP)
    add("--report", type=named_path, metavar="FILE", help=REPORT_HELP)
    add("--explain", action="store_true", help=EXPLAIN_HELP)
    add("--image", metavar="IMAGE", help="run in a container of this image of the version")
    add("--output-dir", type=named_path, metavar="DIR", help="where the run's files go (outputs)")
    add("--port", type=port_number, help="ComfyUI's port on loopback (a free one)")
    add("--timeout", type=float, metavar="SECONDS", help="how long the workflow may run (no limit)")


def _run(arguments: argparse.Namespace, console: Console) -> int:
    from comfy_workflows.compare.baseline import (
        compare_with_baseline,
        load_baseline,
        require_entry,
    )
    from comfy_workflows.compare.run import run_of
    from comfy_workflows.compare.tolerance import parse_tolerance
    from comfy_workflows.folder import baseline_path
    from comfy_workflows.graph import load_workflow, workflow_digest

    workflow = expanded(arguments.workflow)
    path = expanded(arguments.baseline) if arguments.baseline else baseline_path(workflow)
    records = arguments.mode == "record"
    for option in ("tolerance", "report", "explain"):
        if records and getattr(arguments, option) not in (None, False):
            raise InvalidInputError(
                f"--{option} only applies to --mode compare", remedy=f"Leave out --{option}."
            )
    tolerance = None if arguments.tolerance is None else parse_tolerance(arguments.tolerance)
    # All of this before the run, which may take minutes.
    require_files(report=arguments.report)
    digest = workflow_digest(load_workflow(workflow))
    baseline = None
    if path.exists() or not records:
        baseline = load_baseline(path, workflow=digest, may_be_empty=records)
    runner = runner_of(arguments, console, output="files")
    if baseline is not None and not records and tolerance is None:
        require_entry(path, baseline, runner.known_device())
    result = runner.run(workflow, hashes_nodes=arguments.explain)
    for warning in result.get("warnings") or ():
        console.say(f"Warning: {warning}")
    run = run_of(result)
    if records:
        return _record(path, run, digest, console)
    assert baseline is not None, "it was loaded before the run"
    comparison = compare_with_baseline(path, baseline, run, tolerance=tolerance)
    if arguments.explain:
        comparison = explained(
            comparison, workflow, console, runners=(runner, runner), first=result
        )
    if arguments.report is not None:
        report = report_on_baseline(workflow, path, baseline, result, comparison)
        write_page(arguments.report, report, console)
    return _show(comparison, path, result, console)


def _record(path: Path, run: Run, digest: str, console: Console) -> int:
    from comfy_workflows.compare.baseline import record

    recording = record(path, run, workflow=digest, say=console.say)
    for note in recording.notes:
        console.say(f"Note: {note}")
    console.result(_recorded(recording), recording.document())
    return 0


def _recorded(recording: Recording) -> str:
    outputs = quantity(len(recording.entry.outputs), "output")
    device = recording.entry.circumstances.device.in_words()
    done = "replaced" if recording.replaced else "recorded"
    others = [one for one in recording.devices if one != device]
    beside = f"; it also has {listed(others)}" if others else ""
    return f"{done} {outputs} of {device} in {recording.path}{beside}"


def _show(comparison: Comparison, path: Path, result: dict[str, Any], console: Console) -> int:
    document = comparison.document() | {"baseline": str(path), "result": result}
    console.result(table(comparison), document)
    say_circumstances(comparison, console)
    error = mismatch(comparison, path, record="run the same command with --mode record.")
    if error is None:
        console.say(f"No output differs from {path}: {comparison.summary()}")
        return 0
    console.say(error.in_words())
    return error.exit_code
