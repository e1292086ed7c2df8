"""`verify-picture`: what a picture was made from, and whether this machine can make it again."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from comfy_errors import InvalidInputError
from comfy_files.files import disk_errors, replace_file
from comfy_files.user_paths import expanded
from rp_handler.run_request import named_path
from runpod_comfy.cli.options import Subparsers, add_command
from runpod_comfy.cli.proof.reports import require_files
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from runpod_comfy.api.pictures import VerifiedPicture

_DETAILS = """\
The picture is a PNG, JPEG or WebP file of a run with --provenance. The lock, the version, the
models, the input files and the device have to be those that made it. Nothing is run.
Exit code 3 if something is missing, 4 if the graph in the picture was changed."""

_EXAMPLES = """\
  runpod-comfy verify-picture outputs/RUN/x.png
  runpod-comfy verify-picture x.png --extract again.json
"""


def add_parser(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "verify-picture",
        run=_run,
        summary="Say what a picture was made from, and whether this machine can make it again.",
        details=_DETAILS,
        examples=_EXAMPLES,
    )
    add = parser.add_argument
    add("picture", metavar="FILE", type=named_path, help="the picture")
    add(
        "--extract",
        metavar="FILE",
        type=named_path,
        help="write the graph of the picture to a new file, to run it again",
    )


def _run(arguments: argparse.Namespace, console: Console) -> int:
    from rp_handler.sendable import sendable
    from runpod_comfy.api.pictures import picture_document, verify_picture

    require_files(extract=arguments.extract)
    verified = verify_picture(
        arguments.picture, project=arguments.project, say=console.say, explain=console.explain
    )
    if arguments.extract is not None:
        _extract(verified, expanded(arguments.extract))
    console.result(_table(verified), sendable(picture_document(verified)))
    error = verified.error
    if error is not None:
        console.say(error.in_words())
        return error.exit_code
    named = str(arguments.extract) if arguments.extract else "WORKFLOW"
    command = verified.command.replace("WORKFLOW", shlex.quote(named))
    console.say(f"This machine can make it again: {command}")
    if arguments.extract is None:
        console.say("Its graph is written to the file WORKFLOW with --extract WORKFLOW.")
    return 0


def _extract(verified: VerifiedPicture, path: Path) -> None:
    graph = verified.origin.graph
    if graph is None:
        raise InvalidInputError(
            f"{verified.path} has no graph to extract", remedy="Leave out --extract."
        )
    text = json.dumps(graph.document, indent=2) + "\n"
    if path.exists() and path.read_bytes() != text.encode():
        raise InvalidInputError(
            f"{path} exists already, with something else", remedy="Name a new file."
        )
    with disk_errors(f"the graph {path} could not be written"):
        replace_file(path, text.encode())


def _table(verified: VerifiedPicture) -> str:
    """A line for each part."""
    from comfy_http.redaction import in_one_line

    version = verified.origin.provenance.version
    made_by = [
        f"version {version.id}" if version.id else "a version without a name",
        f"image {version.image}" if version.image else "",
        f"ComfyUI {version.comfyui}" if version.comfyui else "",
        f"runpod-comfy {version.handler}",
    ]
    first = f"{verified.path} was made by {', '.join(filter(None, made_by))}"
    width = max(len(finding.state) for finding in verified.findings)
    lines = [f"{finding.state:<{width}}  {finding.sentence}" for finding in verified.findings]
    return "\n".join([in_one_line(first), *lines])
