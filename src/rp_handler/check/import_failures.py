"""Which packages of nodes did not import: the engine only logs it, and starts nevertheless.

The lines are those of `nodes.py` in ComfyUI 0.3.x.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

_CUSTOM = re.compile(r"^ *[\d.]+ seconds \(IMPORT FAILED\): (?P<path>.+)$")
_BUILT_IN = re.compile(r"^IMPORT FAILED: (?P<file>\S+\.py)$")
_BUILT_IN_GROUP = re.compile(r"^WARNING: some (?P<group>\w+)/ nodes did not import correctly")
_CANNOT_IMPORT = "Cannot import {path} module for custom nodes: "
_OTHER_REASONS = (
    "Skip {path} module for custom nodes due to ",
    "Error while calling comfy_entrypoint in {path}: ",
    "comfy_entrypoint in {path} ",
)
_TRACEBACK = "Traceback (most recent call last):"


@dataclass(frozen=True, kw_only=True)
class ImportFailure:
    """A package of nodes that failed to import.

    `group` is `custom_nodes`, `comfy_extras` or `comfy_api_nodes`; `name` is the package in it.
    `reason` is the exception with its message, or the core's own words.
    """

    group: str
    name: str
    reason: str

    @property
    def sentence(self) -> str:
        """The failure in words."""
        kind = "the custom node" if self.group == "custom_nodes" else f"{self.group}/"
        joint = " " if self.group == "custom_nodes" else ""
        return f"{kind}{joint}{self.name} failed to import: {self.reason}"


def import_failures(log: Iterable[str]) -> list[ImportFailure]:
    """Every failure that the lines of an engine's log tell of, in their order."""
    lines = [line.rstrip() for line in log]
    failures = []
    group = ""
    for line in lines:
        if match := _BUILT_IN_GROUP.match(line):
            group = match["group"]
        elif match := _BUILT_IN.match(line):
            failures.append(
                ImportFailure(
                    group=group,
                    name=match["file"],
                    reason=_reason(lines, rf"\S*[/\\]{group}[/\\]{re.escape(match['file'])}"),
                )
            )
        elif match := _CUSTOM.match(line):
            path = match["path"]
            failures.append(
                ImportFailure(
                    group="custom_nodes",
                    name=PurePath(path).name,
                    reason=_reason(lines, re.escape(path)),
                )
            )
    return failures


def _reason(lines: Sequence[str], path: str) -> str:
    cannot = re.compile(_pattern(_CANNOT_IMPORT, path))
    others = [re.compile(_pattern(reason, path)) for reason in _OTHER_REASONS]
    for number, line in enumerate(lines):
        if match := cannot.match(line):
            return _exception_above(lines, number) or line[match.end() :]
        if any(other.match(line) for other in others):
            return line
    return "the engine's log does not say why"


def _pattern(line: str, path: str) -> str:
    before, after = line.split("{path}")
    return re.escape(before) + path + re.escape(after)


def _exception_above(lines: Sequence[str], number: int) -> str | None:
    """The exception of the traceback that ends above the line `number`, on one line."""
    start = number
    while start > 0 and lines[start] != _TRACEBACK:
        start -= 1
    last_frame = max(
        (at for at in range(start, number) if lines[at].startswith("  ")), default=None
    )
    if last_frame is None:
        return None
    told = [line for line in lines[last_frame + 1 : number] if line]
    return " ".join(told) or None
