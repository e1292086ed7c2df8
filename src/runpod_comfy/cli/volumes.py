"""`models sync`: the models of a version on RunPod network volumes, over S3."""

from __future__ import annotations

import argparse
from pathlib import Path

from rp_handler.run_request import seconds
from runpod_comfy.cli.options import (
    Subparsers,
    add_command,
    add_group,
    add_version,
    given,
    named_version,
)
from runpod_comfy.cli.show.console import Console

_DETAILS = """\
What a volume lacks is uploaded to its models/ folder, and verified on the way:
from the model store of this machine, or else from the model's sources, through
the store. No pod is needed. In an image: docker run IMAGE models sync --volume …

An S3 API key of RunPod is needed, in $RUNPOD_S3_ACCESS_KEY_ID and
$RUNPOD_S3_SECRET_ACCESS_KEY.

  present     right, and not changed since it was last hashed
  verified    read back now, and right
  uploaded    sent now
  wrong       another file is there; it was left alone
  missing     not there, and it could not be brought there"""

_EXAMPLES = """\
  runpod-comfy models sync demo --volume EU-RO-1/4jw1fcocwl
  runpod-comfy models sync --volume EU-RO-1/4jw1fcocwl --volume US-KS-2/x7f2k9q1ab
"""


def add_parser(commands: Subparsers) -> None:
    summary = "Fill network volumes of RunPod with the models of a version."
    actions = add_group(commands, "models", summary=summary, examples=_EXAMPLES)
    parser = add_command(
        actions,
        "sync",
        run=_run,
        summary="Bring the models of a version to network volumes of RunPod, over S3.",
        details=_DETAILS,
        examples=_EXAMPLES,
    )
    add_version(parser)
    add = parser.add_argument
    add("--lock", metavar="FILE", type=Path, help="a lock file to use as it is")
    add(
        "--volume",
        dest="volumes",
        metavar="DATACENTER/ID",
        action="append",
        required=True,
        help="a network volume; repeatable",
    )
    add("--overwrite", action="store_true", help="replace other files in the places of models")
    add(
        "--timeout",
        dest="timeout_s",
        metavar="SECONDS",
        type=seconds,
        help="give up on a server that sends nothing for this long; default 120",
    )


def _run(arguments: argparse.Namespace, console: Console) -> int:
    from runpod_comfy.api.models import sync_volumes

    with console.arrivals() as (say, progress):
        filled = sync_volumes(
            named_version(arguments),
            **given(arguments, "volumes", "spec", "lock", "project", "overwrite", "timeout_s"),
            say=say,
            explain=console.explain,
            progress=progress,
        )
    report = filled.report()
    console.result("\n".join(report.table()), report.document())
    console.say(report.summary())
    if filled.error is None:
        return 0
    console.say(filled.error.in_words())
    return filled.error.exit_code
