"""`create`: writes a version spec."""

from __future__ import annotations

import argparse
from pathlib import Path

from runpod_comfy.cli.options import Subparsers, add_command, given
from runpod_comfy.cli.show.console import Console

_EXAMPLES = """\
  runpod-comfy create mine --repo https://github.com/comfyanonymous/ComfyUI@v0.3.75
  runpod-comfy create mine --repo URL@main --nodes URL@main --nodes node.json \\
    --models '{"source": "file:///models/x.safetensors", "target_subdir": "checkpoints"}'
"""


def add_parser(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "create",
        run=_run,
        summary="Write versions/<id>.json: this core, these nodes, these models.",
        details="Every ref is resolved to its current commit.",
        examples=_EXAMPLES,
    )
    add = parser.add_argument
    add("version_id", metavar="ID", help="id of the new version")
    add("--repo", metavar="URL[@REF]", required=True, help="the ComfyUI core: a URL or a path")
    add(
        "--nodes",
        metavar="NODE",
        action="append",
        default=[],
        help="a custom node: URL[@REF], a JSON object, or a JSON file (repeatable)",
    )
    add(
        "--models",
        metavar="MODEL",
        action="append",
        default=[],
        help="a model: a JSON object, or a JSON file with a list (repeatable)",
    )
    add("--models-root", metavar="DIR", type=Path, help="folder with model files")
    add("--auto-checksum", action="store_true", help="compute sha256 of model files found locally")
    add("--output", metavar="FILE", type=Path, help="default: versions/<id>.json")
    add("--force", action="store_true", help="replace an existing, different spec")


def _run(arguments: argparse.Namespace, console: Console) -> int:
    from runpod_comfy.api.versions import create

    options = ("repo", "nodes", "models", "models_root", "auto_checksum", "output", "force")
    created = create(arguments.version_id, **given(arguments, *options, "project"), say=console.say)
    path = created.path
    console.say(f"Wrote {path}" if created.written else f"{path} already has this content")
    console.result(str(path), created)
    return 0
