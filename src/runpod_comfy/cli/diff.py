"""`diff`: the differences between two versions, two locks or two specs."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_errors import InvalidInputError
from comfy_files.user_paths import expanded
from runpod_comfy.cli.options import Subparsers, add_command
from runpod_comfy.cli.show.console import Console
from runpod_comfy.cli.usage.completers import with_version_ids

if TYPE_CHECKING:
    from runpod_comfy.lock.diff import Change
    from runpod_comfy.lock.model import Lock
    from runpod_comfy.spec.model import Spec

DIFFERENT = 4

_EXAMPLES = """\
  runpod-comfy diff demo mine
  runpod-comfy diff versions/demo.json versions/mine.json
  git show HEAD~1:lockfiles/comfy-demo.lock.json > before.json
  runpod-comfy diff before.json lockfiles/comfy-demo.lock.json
"""


@dataclass(frozen=True, kw_only=True)
class _Side:
    """One side of the comparison: its name, and its lock or spec."""

    title: str
    spec: Spec | None = None
    lock: Lock | None = None


def add_parser(commands: Subparsers) -> None:
    parser = add_command(
        commands,
        "diff",
        run=_run,
        summary="Show the differences between two versions: core, nodes, Python, models, settings.",
        details="Versions are compared by their locks, or by their specs if one of the two has no\n"
        "matching lock. Exit 0 if they are equal, 4 if they differ.",
        examples=_EXAMPLES,
    )
    add = parser.add_argument
    with_version_ids(add("before", metavar="A", help="a version id, a lock file or a spec file"))
    with_version_ids(add("after", metavar="B", help="what to compare it with"))


def _run(arguments: argparse.Namespace, console: Console) -> int:
    from runpod_comfy.cli.show.lock_changes import change_lines

    before, after = (_side(text, arguments.project) for text in (arguments.before, arguments.after))
    form, changes = _compare(before, after, console)
    lines = change_lines(changes) or [f"no differences between the two {form}s"]
    document: dict[str, Any] = {
        "form": form,
        "equal": not changes,
        "before": _document(before, form),
        "after": _document(after, form),
        "changes": [vars(change) for change in changes],
    }
    console.result("\n".join(lines), document)
    return DIFFERENT if changes else 0


def _compare(before: _Side, after: _Side, console: Console) -> tuple[str, list[Change]]:
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


def _side(text: str, project: Path | None) -> _Side:
    path = expanded(text)
    if "/" in text or text.endswith(".json") or path.is_file():
        return _side_of_file(path)
    return _side_of_version(text, project)


def _side_of_version(version_id: str, project: Path | None) -> _Side:
    from runpod_comfy.api.versions import read_spec
    from runpod_comfy.cache.paths import Cache
    from runpod_comfy.lock.store import matching_lock

    loaded = read_spec(version_id, None, project)
    found = matching_lock(loaded, Cache.from_environment())
    return _Side(title=version_id, spec=loaded.spec, lock=found[0] if found else None)


def _side_of_file(path: Path) -> _Side:
    from runpod_comfy.lock.store import load_lock
    from runpod_comfy.spec.load import load_spec

    if _names_a_lock(path):
        return _Side(title=str(path), lock=load_lock(path))
    return _Side(title=str(path), spec=load_spec(path).spec)


def _names_a_lock(path: Path) -> bool:
    """True if the file claims to be a lock; reading it reports any faults."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return path.name.endswith(".lock.json")
    return isinstance(document, dict) and "lock_version" in document


def _document(side: _Side, form: str) -> dict[str, Any]:
    from runpod_comfy.spec.load import spec_digest

    if form == "lock" and side.lock:
        return {"version_id": side.lock.version_id, "digest": side.lock.digest}
    assert side.spec is not None
    return {"version_id": side.spec.version_id, "digest": spec_digest(side.spec)}
