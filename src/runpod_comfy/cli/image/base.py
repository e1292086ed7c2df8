"""`image base` and `image normalize`: a base from Debian's packages, one id from any engine."""

from __future__ import annotations

import argparse
from pathlib import Path

from comfy_files.progress import readable_size
from comfy_files.user_paths import expanded
from runpod_comfy.cli.options import Subparsers, add_command
from runpod_comfy.cli.show.console import Console

_DEFAULT_SUITE = "bookworm"
_BASE_EXAMPLES = """\
  runpod-comfy image base
  runpod-comfy image base --suite bookworm --mirror https://debian.example.org/debian
  runpod-comfy image build demo --base runpod-comfy-base:local
"""
_NORMALIZE_EXAMPLES = """\
  runpod-comfy image normalize runpod-comfy:demo
  runpod-comfy image normalize me/comfy:1 --base debian:bookworm-slim
"""


def add_parser(actions: Subparsers) -> None:
    _add_base(actions)
    _add_normalize(actions)


def _add_base(actions: Subparsers) -> None:
    parser = add_command(
        actions,
        "base",
        run=_make_base,
        summary="Make a base image from Debian packages, if no registry can be reached.",
        details="It has the release's Python and trusts this machine's certificates. Needs root "
        "and debootstrap.",
        examples=_BASE_EXAMPLES,
    )
    add = parser.add_argument
    add("--tag", metavar="NAME", help="the image's name; default runpod-comfy-base:local")
    add(
        "--suite",
        metavar="NAME",
        default=_DEFAULT_SUITE,
        help=f"the Debian release; default {_DEFAULT_SUITE}, which has Python 3.11",
    )
    add("--mirror", metavar="URL", help="get packages only from there; default: apt's mirrors")
    add(
        "--ca-bundle",
        metavar="FILE",
        type=Path,
        help="certificates to trust (PEM); default: those of this machine's pip or OpenSSL",
    )


def _add_normalize(actions: Subparsers) -> None:
    parser = add_command(
        actions,
        "normalize",
        run=_normalize,
        summary="Rewrite an image so that its digests and its id do not depend on the engine.",
        details="Engines write tar headers differently. The layers above the base get fixed "
        "headers, the\nconfiguration fixed times; files and tags are kept. The image is saved to "
        "the cache's disk\nand loaded again, which needs space there for one copy.",
        examples=_NORMALIZE_EXAMPLES,
    )
    add = parser.add_argument
    add("image", metavar="IMAGE", help="a tag or an id")
    add(
        "--base",
        metavar="IMAGE",
        help="the image that it is based on; default: the one in its label",
    )


def _make_base(arguments: argparse.Namespace, console: Console) -> int:
    from comfy_errors import InvalidInputError
    from runpod_comfy.images.base.debian import (
        DEFAULT_TAG,
        find_mirrors,
        make_base,
        trusted_certificates,
    )
    from runpod_comfy.images.docker.connection import connect

    bundle = expanded(arguments.ca_bundle) if arguments.ca_bundle else None
    if bundle and not bundle.is_file():
        raise InvalidInputError(f"--ca-bundle: there is no file {bundle}")
    client = connect()
    mirrors = find_mirrors(arguments.suite, arguments.mirror)
    console.say(f"Debian {arguments.suite} from {mirrors.packages}, this takes some minutes")
    made = make_base(
        client,
        tag=arguments.tag or DEFAULT_TAG,
        suite=arguments.suite,
        mirrors=mirrors,
        ca_bundle=bundle or trusted_certificates(),
        on_output=console.explain,
    )
    console.say(f"{made.tag}: {readable_size(made.size_bytes)}, layer {made.layer}")
    console.result(made.tag, made)
    return 0


def _normalize(arguments: argparse.Namespace, console: Console) -> int:
    from runpod_comfy.cache.paths import Cache
    from runpod_comfy.images.docker.connection import connect
    from runpod_comfy.images.proof.normalize import normalize

    client = connect()
    cache = Cache.from_environment()
    with cache.using(console.say), cache.scratch("image") as scratch:
        normalized = normalize(
            client, arguments.image, base=arguments.base, scratch=scratch, say=console.say
        )
    document = {
        "image": normalized.image_id,
        "before": normalized.before,
        "tags": list(normalized.tags),
        "layers": list(normalized.layers),
    }
    console.result(normalized.image_id, document)
    return 0
