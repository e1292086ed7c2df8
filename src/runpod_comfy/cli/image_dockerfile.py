"""`image dockerfile`: what a build would do, without an engine."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from runpod_comfy.cli.console import Console
from runpod_comfy.cli.image_options import add_image_version, base_and_platform, selected_lock
from runpod_comfy.cli.options import add_command, add_json

if TYPE_CHECKING:
    from runpod_comfy.cli.options import Subparsers

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
    from runpod_comfy.images.recipe import make_recipe

    console = Console(as_json=arguments.as_json, verbose=arguments.verbose)
    selected = selected_lock(arguments, console)
    base, platform = base_and_platform(arguments, selected)
    recipe = make_recipe(selected.lock, base, platform=platform)
    document = {
        "version_id": recipe.lock.version_id,
        "lock_digest": recipe.lock.digest,
        "base": base.reference,
        "platform": platform,
        "layers": [{"name": step.name, "key": step.key} for step in recipe.steps],
        "dockerfile": recipe.text,
    }
    console.result(recipe.text.rstrip("\n"), document)
    return 0
