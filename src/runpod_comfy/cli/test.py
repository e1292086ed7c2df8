"""`test`: realizes a version, runs a workflow, compares with the workflow's baseline."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_errors import MismatchError
from rp_handler.run_options import add_run_options
from runpod_comfy.cli.run import run_version
from runpod_comfy.cli.select.options import (
    add_command,
    add_json,
    add_realize_options,
    add_version,
)
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from runpod_comfy.cli.select.options import Subparsers

_EXAMPLES = """\
  runpod-comfy test demo --workflow workflows/example.json --output base64
"""


def add_parser(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "test",
        run=_run,
        summary="Run a workflow on a version and compare what it made with its baseline.",
        details="The baseline of w.json is w.baseline.json beside it. Exit 4 if they differ.",
        examples=_EXAMPLES,
    )
    add_version(parser)
    add_realize_options(parser)
    add_run_options(parser)
    parser.set_defaults(ui=False)
    add_json(parser)


def _run(arguments: argparse.Namespace) -> int:
    from comfy_workflows.baseline import compare, load_baseline

    console = Console(as_json=arguments.as_json, verbose=arguments.verbose)
    path = _baseline_path(arguments.workflow)
    # Before the run: a baseline that cannot be read should not cost a person its time.
    baseline = load_baseline(path) if path and path.is_file() else None

    def judge(result: Mapping[str, Any]) -> None:
        if baseline is None:
            console.say("It ran; it has no baseline to be compared with")
            return
        differences = compare(baseline, result, lock_digest=result["version"].get("lock"))
        if differences:
            raise MismatchError(
                f"the outputs are not those of {path}: " + " ".join(differences),
                remedy="Find out what changed: the workflow, the lock, the device or the driver.",
            )
        console.say(f"Same as {path}")

    return run_version(arguments, console, judge)


def _baseline_path(workflow: Path | None) -> Path | None:
    return workflow.with_name(f"{workflow.stem}.baseline.json") if workflow else None
