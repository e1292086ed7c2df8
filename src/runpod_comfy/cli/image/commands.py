"""`image`: a version as a container image. Each command has a module of its own."""

from __future__ import annotations

from runpod_comfy.cli.image import base, build, push, show, verify
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
    for module in (build, show, push, verify, base):
        module.add_parser(actions)
