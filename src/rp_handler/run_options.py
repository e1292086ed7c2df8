"""The options of a run, the same for `python -m rp_handler.main` and `runpod-comfy run`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """What to run and where its result goes."""
    add = parser.add_argument
    add("--workflow", type=Path, metavar="FILE", help="a graph in the API format; {} is a test")
    add("--output", metavar="MODE", help="files or base64 (OUTPUT_MODE, then files)")
    add("--output-dir", type=Path, metavar="DIR", help="where --output files writes (outputs)")
    add("--port", type=int, help="the loopback port of ComfyUI (a free one)")
    add("--timeout", type=float, metavar="SECONDS", help="how long the workflow may run")


def add_ui_option(parser: argparse.ArgumentParser) -> None:
    """To serve the page instead of running a workflow."""
    parser.add_argument("--ui", action="store_true", help="serve ComfyUI's own page until Ctrl-C")
