"""`run`: realizes a version if needed, then runs a workflow on it or serves its page."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace

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
    add_version(parser)
    add_realize_options(parser)
    add_update_option(parser)
    add_run_options(parser)
    add_ui_option(parser)


def _run(arguments: argparse.Namespace, console: Console) -> int:
    from comfy_workflows.graph import load_workflow
    from rp_handler.main import execute
    from rp_handler.run_request import make_request

    options = ("workflow", "models_dir", "output", "output_dir", "ui", "port", "as_json", "verbose")
    request = make_request(
        os.environ,
        version_id=named_version(arguments),
        **given(arguments, *options, "provenance"),
        timeout_s=arguments.timeout,
    )
    if request.workflow is not None:
        # Checked first, so that a mistake does not cost the minutes of a first realization.
        load_workflow(request.workflow)
    job = find_job(arguments, console)
    realize_visibly(job, console)
    return execute(replace(request, version_id=job.lock.version_id, home=job.target))
