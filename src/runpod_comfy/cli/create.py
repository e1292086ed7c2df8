"""`create`: writes a version spec."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from runpod_comfy.cli.select.options import add_command, add_json
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from runpod_comfy.cli.select.options import Subparsers

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
        details="Every ref is resolved to the commit that it means now.",
        examples=_EXAMPLES,
    )
    parser.add_argument("version_id", metavar="ID", help="id of the new version")
    parser.add_argument(
        "--repo", metavar="URL[@REF]", required=True, help="the ComfyUI core: a URL or a path"
    )
    parser.add_argument(
        "--nodes",
        metavar="NODE",
        action="append",
        default=[],
        help="a custom node: URL[@REF], a JSON object, or a JSON file (repeatable)",
    )
    parser.add_argument(
        "--models",
        metavar="MODEL",
        action="append",
        default=[],
        help="a model: a JSON object, or a JSON file with a list (repeatable)",
    )
    parser.add_argument("--models-root", metavar="DIR", type=Path, help="where model files lie")
    parser.add_argument(
        "--auto-checksum", action="store_true", help="compute sha256 of model files found locally"
    )
    parser.add_argument("--output", metavar="FILE", type=Path, help="default: versions/<id>.json")
    parser.add_argument(
        "--force", action="store_true", help="replace a different spec that is there"
    )
    add_json(parser)


def _run(arguments: argparse.Namespace) -> int:
    from comfy_files.parallel import in_parallel
    from runpod_comfy.cache.use import using
    from runpod_comfy.cli.select.version import fetch_context_for
    from runpod_comfy.cli.select.workspace import workspace
    from runpod_comfy.sources.kinds import settle
    from runpod_comfy.spec.create import create_spec
    from runpod_comfy.spec.write import write_spec

    console = Console(as_json=arguments.as_json, verbose=arguments.verbose)
    version_id: str = arguments.version_id
    path = (arguments.output or workspace() / "versions" / f"{version_id}.json").absolute()
    fetch_context = fetch_context_for(path.parent, console, offline=False)
    with using(fetch_context.cache, console.say):
        spec = create_spec(
            version_id,
            repo=arguments.repo,
            nodes=arguments.nodes,
            models=arguments.models,
            models_root=arguments.models_root,
            auto_checksum=arguments.auto_checksum,
            output=path,
            working_dir=Path.cwd(),
            settle=lambda trees: in_parallel(lambda tree: settle(tree, fetch_context), trees),
            say=console.say,
        )
    written = write_spec(spec, path, force=arguments.force)
    console.say(f"Wrote {path}" if written else f"{path} says this already")
    console.result(str(path), {"version_id": version_id, "path": str(path), "written": written})
    return 0
