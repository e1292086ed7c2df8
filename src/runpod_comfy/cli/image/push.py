"""`image push`: sends a built image to a registry, under the names that others find it by."""

from __future__ import annotations

import argparse

from runpod_comfy.cli.image.options import add_named_version
from runpod_comfy.cli.options import Subparsers, add_command, given, named_version
from runpod_comfy.cli.show.console import Console

_EXAMPLES = """\
  runpod-comfy image push demo --registry ghcr.io/me
  runpod-comfy image push --tag ghcr.io/me/comfy:1
"""


def add_parser(actions: Subparsers) -> None:
    parser = add_command(
        actions,
        "push",
        run=_push,
        summary="Push the image of a version to a registry.",
        details="It goes there as REGISTRY/runpod-comfy:<id> and as "
        "REGISTRY/runpod-comfy:<id>-<digest of the lock>.\n"
        "The login is that of `docker login`. What the registry has is not sent again.",
        examples=_EXAMPLES,
    )
    add_named_version(parser)
    add = parser.add_argument
    add(
        "--registry",
        metavar="REGISTRY",
        help="where to, with the account there: ghcr.io/me; default: what the tag names",
    )
    add("--tag", metavar="TAG", help="the image as it was built; default runpod-comfy:<id>")


def _push(arguments: argparse.Namespace, console: Console) -> int:
    from runpod_comfy.api.images import push
    from runpod_comfy.cli.show.images import PushDisplay

    line = console.status_line()
    try:
        records = push(
            named_version(arguments),
            **given(arguments, "registry", "tag", "spec", "project"),
            say=line.say,
            explain=console.explain,
            show=PushDisplay(line),
        )
    finally:
        line.clear()
    text = "\n".join(f"{each.pushed.reference}  {each.pushed.digest}" for each in records)
    console.result(text, {"pushed": [record.document() for record in records]})
    return 0
