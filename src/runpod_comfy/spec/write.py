"""Writes a spec to its file: in the guide's layout, atomically, never over a different spec. Edits
its text, which is valid then: adds an entry or an override, and keeps every other character.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from comfy_errors import InvalidInputError
from comfy_files.files import disk_errors, replace_file
from comfy_files.user_paths import real
from runpod_comfy.spec.model import Spec

# A tree's position in a spec: the core, or the index of a custom node.
CORE_PLACE: Literal["core"] = "core"
TreePlace = Literal["core"] | int
_DECODER = json.JSONDecoder()
_BLANK = re.compile(r"[ \t\r\n]*")
_MARK = "\ufeff"


def spec_text(spec: Spec) -> str:
    """The spec as JSON, in the layout of handwritten specs."""
    return json.dumps(spec.document(), indent=4, ensure_ascii=False) + "\n"


def replace_spec(path: Path, content: bytes) -> None:
    """Replaces a spec file atomically, and keeps its permissions. Raises OSError."""
    replace_file(path, content, mode=path.stat().st_mode & 0o777)


def write_spec(spec: Spec, path: Path, *, force: bool) -> bool:
    """Writes a spec. Returns False if the file already has this content.

    Raises InvalidInputError if a different file exists and `force` is not given,
    OperationFailedError if the file cannot be written.
    """
    content = spec_text(spec).encode()
    # A link is kept, and its target is written.
    path = real(path)
    with disk_errors(
        f"{path} could not be written",
        remedy="Check its folder, or name another file with --output.",
    ):
        if path.is_dir():
            raise InvalidInputError(f"{path} is a folder", remedy="Name a file with --output.")
        if path.exists():
            if path.read_bytes() == content:
                return False
            if not force:
                raise InvalidInputError(
                    f"{path} already exists and differs from the requested spec",
                    remedy="Replace it with --force, or name another file with --output.",
                )
            replace_spec(path, content)
        else:
            replace_file(path, content)
    return True


def replace_commit(path: Path, place: TreePlace, before: str, after: str) -> None:
    """Replaces a commit at one position of a spec file, unless it is already there; every other
    byte is kept.

    Raises InvalidInputError if `before` is not there, OperationFailedError if the file cannot be
    written.
    """
    path = real(path)
    with disk_errors(
        f"{path} could not be written", remedy="Check its permissions, and those of its folder."
    ):
        content = path.read_bytes()
        wanted = json.loads(content)
        tree = wanted["comfy"] if place == CORE_PLACE else wanted["custom_nodes"][place]
        if tree.get("commit") == after:
            # Another command was first.
            return
        tree["commit"] = after
        old, new = (json.dumps(commit).encode() for commit in (before, after))
        for found in re.finditer(re.escape(old), content):
            # The commit may occur elsewhere too: the right occurrence is the one that changes this
            # position.
            changed = content[: found.start()] + new + content[found.end() :]
            if json.loads(changed) == wanted:
                replace_spec(path, changed)
                return
    raise InvalidInputError(
        f"{path}: the commit {before} could not be replaced",
        remedy=f"Edit it by hand: the new commit is {after}.",
    )


@dataclass(frozen=True, kw_only=True)
class _Child:
    """An entry of a list or object: `start` is its position with the key, `value` without."""

    key: str | None
    start: int
    value: int
    end: int


def append_entry(text: str, key: str, entry: dict[str, Any]) -> str:
    """The spec's text with one more entry in its list `key`, formatted like the others."""
    root = _root(text)
    members = _members(text, root)
    if key in members:
        return _append(text, members[key].value, json_value=entry)
    return _append(text, root, json_value=[entry], key=key)


def put_override(text: str, requirement: str) -> str:
    """The spec's text with a requirement in `options.overrides`, replacing overrides of the same
    distribution with the same marker, or if one of the two has no marker.
    """
    root = _root(text)
    members = _members(text, root)
    if "options" not in members:
        return _append(text, root, json_value={"overrides": [requirement]}, key="options")
    options = members["options"].value
    overrides = _members(text, options).get("overrides")
    if overrides is None:
        return _append(text, options, json_value=[requirement], key="overrides")
    entries = list(_children(text, overrides.value))
    settled = [
        entry
        for entry in entries
        if _is_settled(json.loads(text[entry.value : entry.end]), requirement)
    ]
    if not settled:
        return _append(text, overrides.value, json_value=requirement)
    for entry in reversed(settled[1:]):
        # With the comma before it: a replaced override comes earlier.
        text = text[: entries[entries.index(entry) - 1].end] + text[entry.end :]
    first = settled[0]
    return text[: first.value] + _json(requirement) + text[first.end :]


def _is_settled(override: str, requirement: str) -> bool:
    old, new = Requirement(override), Requirement(requirement)
    return canonicalize_name(old.name) == canonicalize_name(new.name) and (
        old.marker is None or new.marker is None or old.marker == new.marker
    )


def _root(text: str) -> int:
    return _after_blank(text, len(_MARK) if text.startswith(_MARK) else 0)


def _members(text: str, at: int) -> dict[str | None, _Child]:
    return {child.key: child for child in _children(text, at)}


def _children(text: str, at: int) -> Iterator[_Child]:
    """The entries of the list or object that starts at `at`."""
    keyed = text[at] == "{"
    at = _after_blank(text, at + 1)
    while text[at] not in "]}":
        if text[at] == ",":
            at = _after_blank(text, at + 1)
        start, key = at, None
        if keyed:
            key, at = _DECODER.raw_decode(text, at)
            at = _after_blank(text, _after_blank(text, at) + 1)
        end = _DECODER.raw_decode(text, at)[1]
        yield _Child(key=key, start=start, value=at, end=end)
        at = _after_blank(text, end)


def _append(text: str, at: int, *, json_value: Any, key: str | None = None) -> str:
    """The text with one more entry in the list or object that starts at `at`."""
    name = "" if key is None else f"{_json(key)}: "
    children = list(_children(text, at))
    if not children:
        end = _DECODER.raw_decode(text, at)[1]
        unit, newline = _indentation(text), _newline(text)
        line = text[text.rfind("\n", 0, at) + 1 : at]
        outer = line[: len(line) - len(line.lstrip())] if unit else ""
        piece = name + _laid_out(json_value, outer + unit, text)
        inside = f"{newline}{outer}{unit}{piece}{newline}{outer}" if unit else piece
        return text[: at + 1] + inside + text[end - 1 :]
    last = children[-1]
    before = text[children[-2].end if len(children) > 1 else at + 1 : last.start]
    gap = before.partition(",")[2] if len(children) > 1 else before
    if "\n" not in gap:
        piece, gap = _json(json_value), gap or " "
    elif key is None and "\n" not in text[last.value : last.end]:
        # A list with one entry per line.
        piece = _json(json_value)
    else:
        piece = _laid_out(json_value, gap.rpartition("\n")[2], text)
    return f"{text[: last.end]},{gap}{name}{piece}{text[last.end :]}"


def _laid_out(value: Any, indentation: str, text: str) -> str:
    """JSON formatted like the rest of the text, for a line that starts with `indentation`."""
    unit = _indentation(text)
    if not unit:
        return _json(value)
    laid_out = json.dumps(value, indent=unit, ensure_ascii=False)
    return laid_out.replace("\n", _newline(text) + indentation)


def _indentation(text: str) -> str:
    """The indentation of the spec's keys; empty if they are not on lines of their own."""
    first = next(_children(text, _root(text)))
    _, line_end, blank = text[: first.start].rpartition("\n")
    return blank if line_end else ""


def _newline(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def _after_blank(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    assert blank is not None
    return blank.end()


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
