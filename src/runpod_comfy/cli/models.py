"""`verify-models` and `models sync`: proves the models of versions, and brings what is missing to
this machine, or to RunPod network volumes over S3.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from comfy_errors import MismatchError
from comfy_errors.names import quantity
from comfy_models.proof import Report, State
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

if TYPE_CHECKING:
    from runpod_comfy.models.verify import VerifiedModels

_DETAILS = """\
Each model of the lock is looked for in the store ($COMFY_CACHE_MODELS, else
$COMFY_CACHE_ROOT/models) and in the models folder. What is missing or wrong in
the store is fetched from the model's sources, and linked in the models folder.
A file is hashed once, and again only after it has changed.

  present     right, and not changed since it was last hashed
  verified    hashed now, and right
  downloaded  fetched now, and right
  wrong       another file is there; it was left alone
  missing     not there, and it could not be fetched or linked

Exit code 4 if any is wrong or missing. A version with models and no lock is resolved first.
Tokens: $HF_TOKEN for the Hugging Face Hub, $CIVITAI_TOKEN for Civitai."""

_EXAMPLES = """\
  runpod-comfy verify-models
  runpod-comfy verify-models demo --models-dir /workspace/models --verbose
  runpod-comfy verify-models --version-id demo --overwrite
  runpod-comfy verify-models --rehash --json
"""
_SYNC_DETAILS = """\
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
_SYNC_EXAMPLES = """\
  runpod-comfy models sync demo --volume EU-RO-1/4jw1fcocwl
  runpod-comfy models sync --volume EU-RO-1/4jw1fcocwl --volume US-KS-2/x7f2k9q1ab
"""


def add_parser(commands: Subparsers) -> None:
    _add_verify(commands)
    _add_sync(commands)


def _add_verify(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "verify-models",
        run=_run,
        summary="Verify the models of versions, and fetch and link what is missing.",
        details=_DETAILS,
        examples=_EXAMPLES,
    )
    add_version(parser, default="default: $COMFY_VERSION_NAME, else every version")
    add = parser.add_argument
    add("--lock", metavar="FILE", type=Path, help="a lock file to use as it is")
    add(
        "--models-dir",
        metavar="DIR",
        type=Path,
        help="the models folder; default: $MODELS_DIR, else models/ of $COMFY_HOME, else of "
        "~/comfy-<id>",
    )
    add(
        "--overwrite",
        action="store_true",
        help="replace other files at the paths of models, once the models are in the store",
    )
    add(
        "--rehash",
        action="store_true",
        help="hash every file again, also if it has not changed",
    )
    add(
        "--timeout",
        dest="timeout_s",
        metavar="SECONDS",
        type=seconds,
        default=120.0,
        help="give up on a server that sends nothing for this long; default 120",
    )


def _run(arguments: argparse.Namespace, console: Console) -> int:
    found = _verified(arguments, console)
    if found.error is not None:
        console.say(found.error.in_words())
    if console.verbose:
        _explain(found, console)
    report = _report(found)
    more = {"store": found.store, "holds": found.holds, "seconds": round(found.seconds, 3)}
    console.result("\n".join(_table(report)), report.document() | more)
    console.say(report.summary())
    if any(model.state in ("wrong", "missing") for model in found.models):
        return MismatchError.exit_code
    return found.error.exit_code if found.error is not None else 0


def _verified(arguments: argparse.Namespace, console: Console) -> VerifiedModels:
    from runpod_comfy.api.model_request import find_request, recalled

    which = given(arguments, "spec", "lock", "models_dir", "project")
    version_id = named_version(arguments)
    if not arguments.rehash:
        known = recalled(find_request(version_id, **which))
        if known is not None:
            return known
    from runpod_comfy.api.models import verify_models

    with console.arrivals() as (say, progress):
        return verify_models(
            version_id,
            **which,
            **given(arguments, "overwrite", "rehash", "timeout_s"),
            say=say,
            explain=console.explain,
            progress=progress,
        )


def _explain(found: VerifiedModels, console: Console) -> None:
    console.explain(f"Store: {found.store}")
    for model in found.models:
        linked = ", linked now" if model.linked else ""
        known = f", sha256:{model.sha256}" if model.sha256 else ""
        console.explain(f"{model.path}: {model.state}{linked}{known}")


def _report(found: VerifiedModels) -> Report:
    return Report(
        about=quantity(len(found.models), "model"),
        found=found.models,
        states=get_args(State),
        keys=("name", "models_dir", "path", "versions", "linked"),
        columns=("state", "target_path", "size", "versions"),
        error=found.error,
    )


def _table(report: Report) -> Iterator[str]:
    """A line for each model, below the folder that it is in."""
    for folder, models in groupby(report.found, key=attrgetter("models_dir")):
        some = list(models)
        yield str(folder)
        for row, model in zip(replace(report, found=some).table(), some, strict=True):
            yield f"  {row}"
            if model.reason:
                yield "    " + model.reason.replace("\n", "\n    ")


def _add_sync(commands: Subparsers) -> None:
    summary = "Fill network volumes of RunPod with the models of a version."
    actions = add_group(commands, "models", summary=summary, examples=_SYNC_EXAMPLES)
    parser = add_command(
        actions,
        "sync",
        run=_sync,
        summary="Bring the models of a version to network volumes of RunPod, over S3.",
        details=_SYNC_DETAILS,
        examples=_SYNC_EXAMPLES,
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


def _sync(arguments: argparse.Namespace, console: Console) -> int:
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
