"""`run`: realizes a version if need be, then runs a workflow on it, or serves its page."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rp_handler.run_options import add_run_options, add_ui_option
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
  runpod-comfy run --version-id demo --workflow workflows/example.json --output files
  runpod-comfy run --version-id demo --workflow workflows/minimal.json --output base64
  runpod-comfy run --version-id demo --ui
"""


def add_parser(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "run",
        run=_run,
        summary="Run a workflow on a version, headless, or serve the version's own page.",
        details="The version is realized first where it is not. The workflow {} is a smoke test.",
        examples=_EXAMPLES,
    )
    add_version(parser)
    add_realize_options(parser)
    add_run_options(parser)
    add_ui_option(parser)
    add_json(parser)


def _run(arguments: argparse.Namespace) -> int:
    return run_version(arguments, Console(as_json=arguments.as_json, verbose=arguments.verbose))


def run_version(
    arguments: argparse.Namespace,
    console: Console,
    judge: Callable[[Mapping[str, Any]], None] = lambda _result: None,
) -> int:
    """Realizes if need be, runs, and lets `judge` see the result; gives the exit code."""
    from comfy_workflows.load import load_workflow
    from rp_handler.main import execute
    from rp_handler.run_request import make_request
    from runpod_comfy.cli.select.realization import realization_of, realize_visibly
    from runpod_comfy.cli.select.workspace import version_id_of

    request = make_request(
        os.environ,
        version_id=version_id_of(arguments.version, arguments.version_id),
        workflow=arguments.workflow,
        models_dir=arguments.models_dir,
        output=arguments.output,
        output_dir=arguments.output_dir,
        ui=arguments.ui,
        port=arguments.port,
        timeout_s=arguments.timeout,
        as_json=arguments.as_json,
        verbose=arguments.verbose,
    )
    if request.workflow is not None:
        # A mistake in it should not cost a person the minutes of a first realization.
        load_workflow(request.workflow)
    realization = realization_of(arguments, console)
    realize_visibly(realization, console)
    version_id = realization.lock.version_id
    return execute(replace(request, version_id=version_id, home=realization.target), judge)
