"""`image build` and `image dockerfile`: a version as an image, or as a Dockerfile."""

from __future__ import annotations

import argparse

from runpod_comfy.cli.image.options import (
    add_build_options,
    add_image_version,
    build_options,
    selected_lock,
)
from runpod_comfy.cli.options import Subparsers, add_command, given, named_version
from runpod_comfy.cli.show.console import Console

_BUILD_EXAMPLES = """\
  runpod-comfy image build demo
  runpod-comfy image build --version demo --tag registry.example.org/me/comfy:1 --base cuda
  runpod-comfy image build demo --base runpod-comfy-base:local
"""
_DOCKERFILE_EXAMPLES = """\
  runpod-comfy image dockerfile demo
  runpod-comfy image dockerfile --version demo --base cuda-devel
"""


def add_parser(actions: Subparsers) -> None:
    parser = add_command(
        actions,
        "build",
        run=_build,
        summary="Build the image of a version, layer by layer, as `realize` makes a home.",
        details="It is tagged runpod-comfy:<id> and runpod-comfy:<id>-<digest of the lock>.",
        examples=_BUILD_EXAMPLES,
    )
    add_image_version(parser)
    parser.add_argument("--tag", metavar="TAG", help="instead of runpod-comfy:<id>")
    parser.add_argument("--no-cache", action="store_true", help="run every layer again")
    add_build_options(parser)
    parser = add_command(
        actions,
        "dockerfile",
        run=_dockerfile,
        summary="Print the Dockerfile of a version. Needs no engine.",
        details="Its build context is made by `image build`.",
        examples=_DOCKERFILE_EXAMPLES,
    )
    add_image_version(parser)


def _build(arguments: argparse.Namespace, console: Console) -> int:
    from runpod_comfy.api.images import build_image
    from runpod_comfy.cli.show.images import BuildDisplay

    built = build_image(
        named_version(arguments),
        **build_options(arguments, console),
        **given(arguments, "tag", "no_cache"),
        show=BuildDisplay(console.status_line(), verbose=console.verbose),
    )
    console.result(f"{built.tags[0]}  {built.image}", built)
    return 0


def _dockerfile(arguments: argparse.Namespace, console: Console) -> int:
    from runpod_comfy.api.images import platform_name
    from runpod_comfy.images.base.catalogue import find_base
    from runpod_comfy.images.plan import make_build_plan

    lock = selected_lock(arguments, console).lock
    base = find_base(lock, asked=arguments.base)
    build_plan = make_build_plan(lock, base, platform=platform_name(arguments.platform))
    document = {
        "version_id": lock.version_id,
        "lock_digest": lock.digest,
        "base": base.reference,
        "platform": build_plan.plan.platform,
        "layers": [{"name": step.name, "key": step.key} for step in build_plan.steps],
        "dockerfile": build_plan.text,
    }
    console.result(build_plan.text.rstrip("\n"), document)
    return 0
