"""The two sides of a `diff`: each a version, a lock or a spec."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_errors import InvalidInputError
from comfy_files.user_paths import expanded
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from runpod_comfy.lock.diff import Change
    from runpod_comfy.lock.model import Lock
    from runpod_comfy.spec.model import Spec


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


def compare_sides(before: Side, after: Side, console: Console) -> tuple[str, list[Change]]:
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


def document_of(before: Side, after: Side, form: str, changes: Sequence[Change]) -> dict[str, Any]:
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
