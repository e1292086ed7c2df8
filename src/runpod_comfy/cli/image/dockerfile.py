"""`image dockerfile`: what a build would do, without an engine."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from runpod_comfy.cli.image.options import add_image_version, base_and_platform, selected_lock
from runpod_comfy.cli.select.options import add_command, add_json
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from runpod_comfy.cli.select.options import Subparsers

_EXAMPLES = """\
  runpod-comfy image dockerfile demo
  runpod-comfy image dockerfile --version demo --base cuda-devel
"""


def add_parser(actions: Subparsers) -> None:
    parser = add_command(
        actions,
        "dockerfile",
        run=_dockerfile,
        summary="Print the Dockerfile of a version. Needs no engine.",
        details="The context that belongs to it is made by `image build`.",
        examples=_EXAMPLES,
    )
    add_image_version(parser)
    add_json(parser)


def _dockerfile(arguments: argparse.Namespace) -> int:
    from runpod_comfy.images.build_plan import make_build_plan

    console = Console(as_json=arguments.as_json, verbose=arguments.verbose)
    selected = selected_lock(arguments, console)
    base, platform = base_and_platform(arguments, selected)
    build_plan = make_build_plan(selected.lock, base, platform=platform)
    document = {
        "version_id": build_plan.lock.version_id,
        "lock_digest": build_plan.lock.digest,
        "base": base.reference,
        "platform": platform,
        "layers": [{"name": step.name, "key": step.key} for step in build_plan.steps],
        "dockerfile": build_plan.text,
    }
    console.result(build_plan.text.rstrip("\n"), document)
    return 0
