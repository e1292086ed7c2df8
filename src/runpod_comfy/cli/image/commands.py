"""`image`: a version as a container image, with the commands of the modules beside this one."""

from __future__ import annotations

from runpod_comfy.cli.image import build, show, verify
from runpod_comfy.cli.options import Subparsers, add_group

_EXAMPLES = """\
  runpod-comfy image build demo
  runpod-comfy image dockerfile demo
  runpod-comfy image push demo --registry ghcr.io/me
  runpod-comfy image base
"""


def add_parser(commands: Subparsers) -> None:
    summary = "Build a version's container image; run, show, verify and push it."
    actions = add_group(commands, "image", summary=summary, examples=_EXAMPLES)
    for module in (build, show, verify):
        module.add_parser(actions)
