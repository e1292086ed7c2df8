"""`image verify`: proves that a version's image is reproducible."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from runpod_comfy.cli.image.options import add_build_options, add_image_version, build_options
from runpod_comfy.cli.options import Subparsers, add_command, named_version
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    import docker


_EXAMPLES = """\
  runpod-comfy image verify demo
  runpod-comfy image verify demo --engine unix:///var/run/docker.sock --engine tcp://10.0.0.5:2375
"""


def add_parser(actions: Subparsers) -> None:
    parser = add_command(
        actions,
        "verify",
        run=_verify,
        summary="Build a version's image twice without a cache, and compare.",
        details="On one engine the digests of all layers must be equal, between engines all "
        "files.\nExit 4 and the name of the first different file if not.",
        examples=_EXAMPLES,
    )
    add_image_version(parser)
    parser.add_argument(
        "--engine",
        metavar="URL",
        action="append",
        help="an engine to build on, repeatable; default: the one in Docker's settings",
    )
    add_build_options(parser)


def _verify(arguments: argparse.Namespace, console: Console) -> int:
    from runpod_comfy.api.images import find_image_job
    from runpod_comfy.cli.show.images import BuildDisplay
    from runpod_comfy.images.build import build_image
    from runpod_comfy.images.docker.connection import connect
    from runpod_comfy.images.proof.verify import NamedEngine, verify_image
    from runpod_comfy.images.registry.names import DEFAULT_REPOSITORY

    engines = [
        NamedEngine(name=address or "the engine", client=connect(address))
        for address in arguments.engine or [None]
    ]
    job = find_image_job(named_version(arguments), **build_options(arguments, console))

    def build(client: docker.DockerClient, *, no_cache: bool, tag: str) -> str:
        show = BuildDisplay(console.status_line(), verbose=console.verbose)
        return build_image(job, client, tags=[tag], show=show, no_cache=no_cache).image_id

    proofs = verify_image(engines, build, repository=DEFAULT_REPOSITORY, say=console.say)
    document = {
        "version_id": job.lock.version_id,
        "lock_digest": job.lock.digest,
        "engines": proofs,
    }
    console.result(f"{job.lock.version_id}: the image is reproducible", document)
    return 0
