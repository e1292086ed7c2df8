"""`init`: an unpinned ComfyUI for development."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from comfy_files.user_paths import expanded
from runpod_comfy.cli.options import Subparsers, add_command, given
from runpod_comfy.cli.show.console import Console

_EXAMPLES = """\
  runpod-comfy init --install-torch auto
  runpod-comfy init --path /runpod-volume/comfy --ref v0.3.75 --install-torch skip
"""


def add_parser(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "init",
        run=_run,
        summary="Clone ComfyUI, make its environment, install its requirements.",
        details="For working on ComfyUI itself. For a pinned version use 'realize'.",
        examples=_EXAMPLES,
    )
    add = parser.add_argument
    add("--path", metavar="PATH", type=Path, help="default: $COMFY_HOME, else ./comfy")
    add("--repo", metavar="URL", help="or a local folder; default: ComfyUI on GitHub")
    add(
        "--ref",
        metavar="REF",
        help="branch, tag or commit; default: the repository's default branch",
    )
    add("--venv", metavar="PATH", type=Path, help="default: .venv in the installation")
    add(
        "--install-torch",
        choices=("auto", "cpu", "skip"),
        default="skip",
        help="skip (the default) leaves out torch; auto and cpu use CPU wheels on Linux and the "
        "default build on macOS",
    )
    add("--python", metavar="PYTHON", help="the interpreter; default python3")


def _run(arguments: argparse.Namespace, console: Console) -> int:
    from runpod_comfy.cache.paths import Cache
    from runpod_comfy.homes.init.environment import Initialization, has_torch
    from runpod_comfy.homes.init.run import initialize

    watched = console.on_a_terminal or console.verbose
    path = arguments.path or Path(os.environ.get("COMFY_HOME") or "comfy")
    result = initialize(
        Initialization(
            path=expanded(path).absolute(),
            venv=expanded(arguments.venv).absolute() if arguments.venv else None,
            **given(arguments, "repo", "ref", "install_torch", "python"),
            cache=Cache.from_environment(),
            base_dir=Path.cwd(),
            say=console.say,
            show=sys.stderr.buffer if watched else None,
        )
    )
    if not result.changed:
        console.say(f"Nothing to do: {result.target} is initialized")
    if not has_torch(result.venv):
        console.say(f"PyTorch was left out: install it in {result.venv} before starting ComfyUI")
    console.say(f"Start it with: {result.venv}/bin/python {result.target}/ComfyUI/main.py")
    console.result(str(result.target), result)
    return 0
