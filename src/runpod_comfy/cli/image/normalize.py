"""`image normalize`: gives an image the id that it has from any engine."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from runpod_comfy.cli.select.options import add_command, add_json
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from runpod_comfy.cli.select.options import Subparsers

_EXAMPLES = """\
  runpod-comfy image normalize runpod-comfy:demo
  runpod-comfy image normalize me/comfy:1 --base debian:bookworm-slim
"""


def add_parser(actions: Subparsers) -> None:
    parser = add_command(
        actions,
        "normalize",
        run=_normalize,
        summary="Rewrite an image so that its digests and its id are the same from any engine.",
        details="Engines write the headers of tar files differently. The layers above the base "
        "get fixed\nones, the configuration fixed times; files and tags stay. It is saved to the "
        "cache's disk and\nloaded again, and needs room there once.",
        examples=_EXAMPLES,
    )
    parser.add_argument("image", metavar="IMAGE", help="a tag or an id")
    parser.add_argument(
        "--base", metavar="IMAGE", help="what it stands on; default: what its label says"
    )
    add_json(parser)


def _normalize(arguments: argparse.Namespace) -> int:
    from runpod_comfy.cache.paths import Cache
    from runpod_comfy.cache.use import using
    from runpod_comfy.images.docker.connection import connect
    from runpod_comfy.images.proof.normalize import normalize

    console = Console(as_json=arguments.as_json, verbose=arguments.verbose)
    client = connect()
    cache = Cache.from_environment()
    with using(cache, console.say), cache.writing():
        cache.tmp.mkdir(parents=True, exist_ok=True)
        normalized = normalize(
            client, arguments.image, base=arguments.base, scratch=cache.tmp, say=console.say
        )
    document = {
        "image": normalized.image_id,
        "before": normalized.before,
        "tags": list(normalized.tags),
        "layers": list(normalized.layers),
    }
    console.result(normalized.image_id, document)
    return 0
