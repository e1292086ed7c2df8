"""`image build`: compiles a version into an image, on the engine that Docker's settings name."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from runpod_comfy.cli.image.options import add_build_options, add_image_version, image_job
from runpod_comfy.cli.select.options import add_command, add_json
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from runpod_comfy.cli.select.options import Subparsers

_EXAMPLES = """\
  runpod-comfy image build demo
  runpod-comfy image build --version demo --tag registry.example.org/me/comfy:1 --base cuda
  runpod-comfy image build demo --base runpod-comfy-base:local
"""


def add_parser(actions: Subparsers) -> None:
    parser = add_command(
        actions,
        "build",
        run=_build,
        summary="Build the image of a version, layer by layer, as `realize` makes a home.",
        details="It is called runpod-comfy:<id>, and runpod-comfy:<id>-<digest of the lock>.",
        examples=_EXAMPLES,
    )
    add_image_version(parser)
    parser.add_argument("--tag", metavar="TAG", help="instead of runpod-comfy:<id>")
    parser.add_argument("--no-cache", action="store_true", help="run every layer again")
    add_build_options(parser)
    add_json(parser)


def _build(arguments: argparse.Namespace) -> int:
    from runpod_comfy.cli.show.build import build_display
    from runpod_comfy.images.build import build_image, image_tags
    from runpod_comfy.images.docker.connection import connect
    from runpod_comfy.images.registry.names import check_tag

    console = Console(as_json=arguments.as_json, verbose=arguments.verbose)
    if arguments.tag is not None:
        check_tag(arguments.tag)
    client = connect()
    job = image_job(arguments, console)
    tags = image_tags(job.lock, tag=arguments.tag)
    outcome = build_image(
        job,
        client,
        tags=tags,
        show=build_display(console),
        no_cache=arguments.no_cache,
    )
    document = {
        "version_id": job.lock.version_id,
        "lock_digest": job.lock.digest,
        "image": outcome.image_id,
        "tags": tags,
        "steps": [
            {"name": step.name, "cached": step.cached, "seconds": step.seconds}
            for step in outcome.steps
        ],
    }
    console.result(f"{tags[0]}  {outcome.image_id}", document)
    return 0
