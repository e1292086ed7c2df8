"""`run` and `test`: realize a version if needed, then run a workflow on it or serve its page."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from comfy_errors import MismatchError
from comfy_files.user_paths import expanded
from rp_handler.run_request import add_run_options, add_ui_option
from runpod_comfy.cli.options import (
    Subparsers,
    add_command,
    add_realize_options,
    add_update_option,
    add_version,
    given,
    named_version,
)
from runpod_comfy.cli.realize import find_job, realize_visibly
from runpod_comfy.cli.show.console import Console

_RUN_EXAMPLES = """\
  runpod-comfy run --version-id demo --workflow workflows/example.json --output files
  runpod-comfy run --version-id demo --workflow workflows/minimal.json --output base64
  runpod-comfy run --version-id demo --workflow workflows/example.json --update
  runpod-comfy run --version-id demo --ui
"""
_TEST_EXAMPLES = """\
  runpod-comfy test demo --workflow workflows/example.json --output base64
"""


def add_parser(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "run",
        run=_run,
        summary="Run a workflow on a version, headless, or serve the version's own page.",
        details="The version is realized first if it is not. The workflow {} is a smoke test.\n"
        "A folder that was edited since it was locked is reported; --update runs it as it is now.",
        examples=_RUN_EXAMPLES,
    )
    _add_options(parser)
    add_ui_option(parser)
    parser = add_command(
        commands,
        "test",
        run=_test,
        summary="Run a workflow on a version and compare its outputs with its baseline.",
        details="The baseline of w.json is w.baseline.json beside it. Exit 4 if they differ.",
        examples=_TEST_EXAMPLES,
    )
    _add_options(parser)
    parser.set_defaults(ui=False)


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_version(parser)
    add_realize_options(parser)
    add_update_option(parser)
    add_run_options(parser)


def _run(
    arguments: argparse.Namespace,
    console: Console,
    judge: Callable[[Mapping[str, Any]], None] = lambda _result: None,
) -> int:
    """Realizes if needed, runs, and passes the result to `judge`; returns the exit code."""
    from comfy_workflows.graph import load_workflow
    from rp_handler.main import execute
    from rp_handler.run_request import make_request

    options = ("workflow", "models_dir", "output", "output_dir", "ui", "port", "as_json", "verbose")
    request = make_request(
        os.environ,
        version_id=named_version(arguments),
        **given(arguments, *options),
        timeout_s=arguments.timeout,
    )
    if request.workflow is not None:
        # Checked first, so that a mistake does not cost the minutes of a first realization.
        load_workflow(request.workflow)
    job = find_job(arguments, console)
    realize_visibly(job, console)
    return execute(replace(request, version_id=job.lock.version_id, home=job.target), judge)


def _test(arguments: argparse.Namespace, console: Console) -> int:
    from comfy_workflows.baseline import compare, load_baseline

    path = _baseline_path(arguments.workflow)
    # Before the run, so that an unreadable baseline is reported without waiting.
    baseline = load_baseline(path) if path and path.is_file() else None

    def judge(result: Mapping[str, Any]) -> None:
        if baseline is None:
            console.say("The run succeeded; there is no baseline to compare with")
            return
        differences = compare(baseline, result, lock_digest=result["version"].get("lock"))
        if differences:
            raise MismatchError(
                f"the outputs differ from {path}: " + " ".join(differences),
                remedy="Find out what changed: the workflow, the lock, the device or the driver.",
            )
        console.say(f"The outputs are equal to {path}")

    return _run(arguments, console, judge)


def _baseline_path(workflow: Path | None) -> Path | None:
    return expanded(workflow).with_name(f"{workflow.stem}.baseline.json") if workflow else None
