"""`image run`: runs a workflow in a container of a version's image, as `run` does in a home."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rp_handler.run_request import DEFAULT_OUTPUT_MODE, PROVENANCE_HELP, output_help, seconds
from runpod_comfy.cli.options import (
    Subparsers,
    add_command,
    add_version,
    given,
    named_version,
)
from runpod_comfy.cli.show.console import Console

_EXAMPLES = """\
  runpod-comfy image run demo --workflow workflows/example.json
  runpod-comfy image run demo --workflow workflows/minimal.json --output base64
  runpod-comfy image run demo --workflow workflows/example.json --output gcs --verbose
"""


def add_parser(actions: Subparsers) -> None:
    parser = add_command(
        actions,
        "run",
        run=_run,
        summary="Run a workflow in a container of a version's image.",
        details="The container sees the workflow, the model store and the outputs folder, and "
        "can only write to the last. Models that are not in the store are fetched first.",
        examples=_EXAMPLES,
    )
    add_version(parser)
    add = parser.add_argument
    add("--workflow", type=Path, metavar="FILE", required=True, help="a graph in the API format")
    add("--output", metavar="MODE", help=output_help(DEFAULT_OUTPUT_MODE))
    add("--output-dir", type=Path, metavar="DIR", help="where --output files writes (outputs)")
    add(
        "--models-dir",
        type=Path,
        metavar="DIR",
        help="models folder besides the store (MODELS_DIR)",
    )
    add(
        "--timeout",
        type=seconds,
        metavar="SECONDS",
        help="how long the workflow may run (no limit)",
    )
    add("--provenance", action="store_true", help=PROVENANCE_HELP)
    add("--image", metavar="IMAGE", help="default: runpod-comfy:<id>")


def _run(arguments: argparse.Namespace, console: Console) -> int:
    from runpod_comfy.api.images import run_image

    options = ("workflow", "output", "output_dir", "models_dir", "image", "spec", "project")
    return run_image(
        named_version(arguments),
        **given(arguments, *options, "as_json", "verbose", "provenance"),
        timeout_s=arguments.timeout,
        out=sys.stdout.buffer,
        err=sys.stderr.buffer,
        say=console.say,
        explain=console.explain,
    )
