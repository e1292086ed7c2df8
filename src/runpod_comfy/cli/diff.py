"""`diff`: the differences between two versions, two locks or two specs, and between their runs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_errors import InvalidInputError
from comfy_files.user_paths import expanded
from rp_handler.run_request import named_path
from runpod_comfy.cli.options import Subparsers, add_command, with_version_ids
from runpod_comfy.cli.proof.repro import REPORT_HELP, TOLERANCE_HELP
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from runpod_comfy.lock.diff import LockChange
    from runpod_comfy.lock.model import Lock
    from runpod_comfy.spec.model import Spec

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


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side: its name, and its lock or spec. `file` is the lock or the spec that was named; None
    for a version that was named by its id.
    """

    title: str
    file: Path | None = None
    spec: Spec | None = None
    lock: Lock | None = None

    @property
    def version_id(self) -> str:
        known = self.lock or self.spec
        assert known is not None, "a side has one of the two"
        return known.version_id


def side_of(text: str, project: Path | None) -> Side:
    """The version, the lock file or the spec file that `text` names. Raises ComfyError."""
    path = expanded(text)
    if "/" in text or text.endswith(".json") or path.is_file():
        return _side_of_file(path)
    return _side_of_version(text, project)


def locked(side: Side, project: Path | None) -> Side:
    """The side with the lock that is used where its version is realized, once there is one."""
    from runpod_comfy.api.versions import read_spec
    from runpod_comfy.cache.paths import Cache
    from runpod_comfy.lock.store import find_lock

    if side.spec is None:
        return side
    found = find_lock(read_spec(side.version_id, side.file, project), Cache.from_environment())
    return replace(side, lock=found[0] if found else None)


def compare_sides(before: Side, after: Side, console: Console) -> tuple[str, list[LockChange]]:
    """What was compared, `lock` or `spec`, and every difference.

    Raises InvalidInputError for a lock and a spec without one.
    """
    from runpod_comfy.lock.diff import compare_locks, compare_specs

    if before.lock and after.lock:
        return "lock", compare_locks(before.lock, after.lock)
    if before.spec and after.spec:
        bare = " and ".join(side.title for side in (before, after) if side.lock is None)
        console.say(f"Comparing the specs: there is no lock that matches {bare}")
        return "spec", compare_specs(before.spec, after.spec)
    lock, other = (before, after) if before.lock else (after, before)
    raise InvalidInputError(
        f"{lock.title} is a lock, and {other.title} is a spec without a matching lock",
        remedy="Compare two locks or two specs: resolve the spec first, or name the spec of the "
        "lock.",
    )


def document_of(
    before: Side, after: Side, form: str, changes: Sequence[LockChange]
) -> dict[str, Any]:
    """The comparison of two sides, as `diff --json` prints it."""
    return {
        "form": form,
        "equal": not changes,
        "before": _document(before, form),
        "after": _document(after, form),
        "changes": [vars(change) for change in changes],
    }


def _side_of_version(version_id: str, project: Path | None) -> Side:
    from runpod_comfy.api.versions import read_spec
    from runpod_comfy.cache.paths import Cache
    from runpod_comfy.lock.store import matching_lock

    loaded = read_spec(version_id, None, project)
    found = matching_lock(loaded, Cache.from_environment())
    return Side(title=version_id, spec=loaded.spec, lock=found[0] if found else None)


def _side_of_file(path: Path) -> Side:
    from runpod_comfy.lock.store import load_lock
    from runpod_comfy.spec.load import load_spec

    if _names_a_lock(path):
        return Side(title=str(path), file=path, lock=load_lock(path))
    return Side(title=str(path), file=path, spec=load_spec(path).spec)


def _names_a_lock(path: Path) -> bool:
    """True if the file claims to be a lock; reading it reports any faults."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return path.name.endswith(".lock.json")
    return isinstance(document, dict) and "lock_version" in document


def _document(side: Side, form: str) -> dict[str, Any]:
    from runpod_comfy.spec.load import spec_digest

    if form == "lock" and side.lock:
        return {"version_id": side.lock.version_id, "digest": side.lock.digest}
    assert side.spec is not None
    return {"version_id": side.spec.version_id, "digest": spec_digest(side.spec)}
