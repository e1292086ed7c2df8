"""`image push`: pushes a built image to a registry, under its public names."""

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
        details="Its names there are REGISTRY/runpod-comfy:<id> and "
        "REGISTRY/runpod-comfy:<id>-<digest of the lock>.\n"
        "The login is that of `docker login`. Layers that the registry has are not sent again.",
        examples=_EXAMPLES,
    )
    add_named_version(parser)
    add = parser.add_argument
    add(
        "--registry",
        metavar="REGISTRY",
        help="registry and account, such as ghcr.io/me; default: the one in the tag",
    )
    add(
        "--tag",
        metavar="TAG",
        help="the tag that the image was built with; default runpod-comfy:<id>",
    )


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
