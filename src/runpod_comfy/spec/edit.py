"""Edits a spec's text: adds an entry or an override. Every other character is kept.

The text is a valid spec, so nothing here reports JSON errors.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_DECODER = json.JSONDecoder()
_BLANK = re.compile(r"[ \t\r\n]*")
_MARK = "\ufeff"


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
