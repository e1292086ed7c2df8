"""`image base`: a base image from Debian's packages, for machines that reach no registry."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from comfy_files.sizes import readable_size
from runpod_comfy.cli.select.options import add_command, add_json
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from runpod_comfy.cli.select.options import Subparsers

_DEFAULT_SUITE = "bookworm"
_EXAMPLES = """\
  runpod-comfy image base
  runpod-comfy image base --suite bookworm --mirror https://debian.example.org/debian
  runpod-comfy image build demo --base runpod-comfy-base:local
"""


def add_parser(actions: Subparsers) -> None:
    parser = add_command(
        actions,
        "base",
        run=_run,
        summary="Make a base image from Debian's packages, where no registry can be reached.",
        details="It has the release's Python and trusts what this machine trusts. "
        "Needs root and debootstrap.",
        examples=_EXAMPLES,
    )
    parser.add_argument(
        "--tag", metavar="NAME", help="the image's name; default runpod-comfy-base:local"
    )
    parser.add_argument(
        "--suite",
        metavar="NAME",
        default=_DEFAULT_SUITE,
        help=f"the Debian release; default {_DEFAULT_SUITE}, which has Python 3.11",
    )
    parser.add_argument(
        "--mirror", metavar="URL", help="get packages only there; default: where apt gets them"
    )
    parser.add_argument(
        "--ca-bundle",
        metavar="FILE",
        type=Path,
        help="certificates to trust, PEM; default: what this machine's pip or OpenSSL is told",
    )
    add_json(parser)


def _run(arguments: argparse.Namespace) -> int:
    from comfy_errors import InvalidInputError
    from runpod_comfy.images.base.debian import DEFAULT_TAG, make_base, trusted_certificates
    from runpod_comfy.images.base.debian_mirrors import find_mirrors
    from runpod_comfy.images.docker.connection import connect

    console = Console(as_json=arguments.as_json, verbose=arguments.verbose)
    bundle = arguments.ca_bundle
    if bundle and not bundle.is_file():
        raise InvalidInputError(f"--ca-bundle names no file: {bundle}")
    client = connect()
    mirrors = find_mirrors(arguments.suite, arguments.mirror)
    console.say(f"Debian {arguments.suite} from {mirrors.packages}, which takes some minutes")
    made = make_base(
        client,
        tag=arguments.tag or DEFAULT_TAG,
        suite=arguments.suite,
        mirrors=mirrors,
        ca_bundle=bundle or trusted_certificates(),
        hear=console.explain,
    )
    console.say(f"{made.tag}: {readable_size(made.size_bytes)}, layer {made.layer}")
    document = {
        "tag": made.tag,
        "image_id": made.image_id,
        "layer": made.layer,
        "size_bytes": made.size_bytes,
    }
    console.result(made.tag, document)
    return 0
