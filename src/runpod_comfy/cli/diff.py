"""`diff`: the differences between two versions, two locks or two specs, and between their runs."""

from __future__ import annotations

import argparse

from comfy_errors import InvalidInputError
from rp_handler.run_request import named_path
from runpod_comfy.cli.options import Subparsers, add_command, with_version_ids
from runpod_comfy.cli.proof.repro import REPORT_HELP, TOLERANCE_HELP
from runpod_comfy.cli.proof.sides import compare_sides, document_of, side_of
from runpod_comfy.cli.show.console import Console

DIFFERENT = 4

_DETAILS = """\
Versions are compared by their locks, or by their specs if one of the two has no matching lock.
Exit 0 if they are equal, 4 if they differ.

With --run, the workflow runs on both, one after the other; a version that is not resolved or not
realized is first. The exit code is then about the outputs: 0 if they are equal, 4 if they differ.
Outputs are equal if what they show is equal: pixels, frames, samples."""

_EXAMPLES = """\
  runpod-comfy diff demo mine
  runpod-comfy diff versions/demo.json versions/mine.json
  runpod-comfy diff --run old new --workflow workflows/example.json --report upgrade.html
  git show HEAD~1:lockfiles/comfy-demo.lock.json > before.json
  runpod-comfy diff before.json lockfiles/comfy-demo.lock.json
"""


_WITH_RUN = (
    ("--workflow", "FILE", named_path, "a graph in the API format"),
    ("--tolerance", "BOUNDS", str, TOLERANCE_HELP),
    ("--report", "FILE", named_path, REPORT_HELP),
    ("--output-dir", "DIR", named_path, "where the files of both runs go (outputs)"),
    ("--models-dir", "DIR", named_path, "shared models folder; default $MODELS_DIR"),
    ("--timeout", "SECONDS", float, "how long each run may take (no limit)"),
    ("--target-a", "DIR", named_path, "the home of A; default ~/comfy-<id>"),
    ("--target-b", "DIR", named_path, "the home of B; default ~/comfy-<id>"),
    ("--image-a", "IMAGE", str, "run A in a container of this image of it"),
    ("--image-b", "IMAGE", str, "run B in a container of this image of it"),
)


def add_parser(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "diff",
        run=_run,
        summary="Show the differences between two versions: core, nodes, Python, models, settings.",
        details=_DETAILS,
        examples=_EXAMPLES,
    )
    add = parser.add_argument
    with_version_ids(add("before", metavar="A", help="a version id, a lock file or a spec file"))
    with_version_ids(add("after", metavar="B", help="what to compare it with"))
    add("--run", dest="runs", action="store_true", help="run a workflow on both, and compare")
    group = parser.add_argument_group("with --run")
    for option, metavar, kind, text in _WITH_RUN:
        group.add_argument(option, metavar=metavar, type=kind, help=text)


def _run(arguments: argparse.Namespace, console: Console) -> int:
    if arguments.runs:
        from runpod_comfy.cli.proof.two_versions import run_both

        return run_both(arguments, console)
    _require_no_run(arguments)
    return _compare(arguments, console)


def _require_no_run(arguments: argparse.Namespace) -> None:
    given = vars(arguments)
    options = [option for option, *_ in _WITH_RUN]
    refused = [one for one in options if given[one[2:].replace("-", "_")] is not None]
    if refused:
        applies = "applies" if len(refused) == 1 else "apply"
        raise InvalidInputError(
            f"{' and '.join(refused)} only {applies} to a comparison of runs",
            remedy=f"Add --run, or leave out {' and '.join(refused)}.",
        )


def _compare(arguments: argparse.Namespace, console: Console) -> int:
    from runpod_comfy.cli.show.lock_changes import change_lines

    before, after = (
        side_of(text, arguments.project) for text in (arguments.before, arguments.after)
    )
    form, changes = compare_sides(before, after, console)
    lines = change_lines(changes) or [f"no differences between the two {form}s"]
    console.result("\n".join(lines), document_of(before, after, form, changes))
    return DIFFERENT if changes else 0
