"""The differences between two locks or two specs on a terminal, one line each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from comfy_files.progress import readable_size
from runpod_comfy.lock.diff import PARTS, PIN_OF, LockChange

_TITLES = {
    "core": "core",
    "nodes": "custom nodes",
    "python": "Python",
    "models": "models",
    "environment": "environment",
}
_SHORT = 12
# The keys shown for an item that was added or removed.
_MAIN_KEYS = ("version", "ref", "commit", "value", "source")


def change_lines(changes: Iterable[LockChange]) -> list[str]:
    """The changes, grouped under the titles of their parts."""
    known = list(changes)
    lines: list[str] = []
    for part in PARTS:
        of_part = [change for change in known if change.part == part]
        if of_part:
            lines += [_TITLES[part], *(f"  {_line(change)}" for change in of_part)]
    return lines


def main_values(thing: Mapping[str, Any]) -> list[str]:
    """Short forms of what identifies a thing that was added or removed, such as its version."""
    found = [_short(thing[key]) for key in _MAIN_KEYS if thing.get(key)]
    # The preferred source of a model in a lock.
    return [*found, *thing.get("sources", [])[:1]]


def _line(change: LockChange) -> str:
    if not change.key:
        sign, thing = ("+", change.after) if change.before is None else ("-", change.before)
        return " ".join([sign, change.name, *main_values(thing)])
    if change.key == "files":
        gone, new = len(change.before), len(change.after)
        return f"~ {change.name} hashes: {gone} gone, {new} new"
    if change.key in ("requested_by", "required_by"):
        return f"~ {change.name} asked for by: {_of(change.before)} → {_of(change.after)}"
    if change.key.startswith(PIN_OF):
        parts = {**change.before, **change.after}
        moves = [
            f"{part} {_short(change.before.get(part))} → {_short(change.after.get(part))}"
            for part in parts
        ]
        return f"~ {change.name} {change.key}: {', '.join(moves)}"
    if change.key == "size":
        sizes = [readable_size(size) for size in (change.before, change.after) if size is not None]
        return f"~ {change.name} size: {' → '.join(sizes)}"
    label = "" if change.key in ("version", "value") else f" {change.key}:"
    return f"~ {change.name}{label} {_short(change.before)} → {_short(change.after)}"


def _of(value: Sequence[str] | Mapping[str, Sequence[str]] | None) -> str:
    if isinstance(value, Mapping):
        value = [f"{who} ({'; '.join(lines)})" for who, lines in value.items()]
    return ", ".join(value or []) or "nothing"


def _short(value: Any) -> str:
    """A short form of a value; of a hash or a commit, its first digits."""
    if value is None:
        return "none"
    if isinstance(value, list):
        return f"[{', '.join(_short(item) for item in value)}]"
    if isinstance(value, dict):
        return " ".join(_short(item) for item in value.values())
    text = str(value)
    digits = text.removeprefix("sha256:").removeprefix("tree:")
    if len(digits) in (40, 64) and all(character in "0123456789abcdef" for character in digits):
        return text[: len(text) - len(digits) + _SHORT]
    return text
