"""`image verify`: whether builds of one version are equal, on one engine and on several."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from runpod_comfy.cli.image.options import add_build_options, add_image_version, build_options
from runpod_comfy.cli.options import Subparsers, add_command, named_version
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    import docker

    from runpod_comfy.images.build import ImageJob
    from runpod_comfy.images.proof.verify import EngineProof, NamedEngine

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

    engines = named_engines(arguments.engine)
    job = find_image_job(named_version(arguments), **build_options(arguments, console))
    document = {
        "version_id": job.lock.version_id,
        "lock_digest": job.lock.digest,
        "engines": build_twice(job, engines, console),
    }
    console.result(f"{job.lock.version_id}: the image is reproducible", document)
    return 0


def named_engines(addresses: Sequence[str] | None) -> list[NamedEngine]:
    """The engines at these addresses, by default the one in Docker's settings.

    Raises DockerUnavailableError.
    """
    from runpod_comfy.images.docker.connection import connect
    from runpod_comfy.images.proof.verify import NamedEngine

    wanted: Sequence[str | None] = addresses or [None]
    return [
        NamedEngine(name=address or "the engine", client=connect(address)) for address in wanted
    ]


def build_twice(
    job: ImageJob, engines: Sequence[NamedEngine], console: Console
) -> list[EngineProof]:
    """Builds the image twice on each engine, and compares. Raises as `verify_image` does."""
    from runpod_comfy.cli.show.images import BuildDisplay
    from runpod_comfy.images.build import build_image
    from runpod_comfy.images.proof.verify import verify_image
    from runpod_comfy.images.registry.names import DEFAULT_REPOSITORY

    def build(client: docker.DockerClient, *, no_cache: bool, tag: str) -> str:
        show = BuildDisplay(console.status_line(), verbose=console.verbose)
        return build_image(job, client, tags=[tag], show=show, no_cache=no_cache).image_id

    return verify_image(engines, build, repository=DEFAULT_REPOSITORY, say=console.say)
