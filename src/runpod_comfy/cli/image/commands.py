"""`image`: a version as a container image. Its commands are modules of their own."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from runpod_comfy.cli.image import base as image_base
from runpod_comfy.cli.image import build as image_build
from runpod_comfy.cli.image import dockerfile as image_dockerfile
from runpod_comfy.cli.image import normalize as image_normalize
from runpod_comfy.cli.image import push as image_push
from runpod_comfy.cli.image import run as image_run
from runpod_comfy.cli.image import show as image_show
from runpod_comfy.cli.image import verify as image_verify

if TYPE_CHECKING:
    from runpod_comfy.cli.select.options import Subparsers

_EXAMPLES = """\
  runpod-comfy image build demo
  runpod-comfy image dockerfile demo
  runpod-comfy image push demo --registry ghcr.io/me
  runpod-comfy image base
"""


def add_parser(commands: Subparsers) -> None:
    summary = "Build a version's container image, run it, look at it, prove it, push it."
    parser = commands.add_parser(
        "image",
        help=summary,
        description=summary,
        epilog=f"examples:\n{_EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    actions = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (
        image_build,
        image_dockerfile,
        image_run,
        image_show,
        image_push,
        image_verify,
        image_normalize,
        image_base,
    ):
        module.add_parser(actions)
