"""Finds node packages that failed to import: the engine only logs this, and starts anyway.

The log lines are those of `nodes.py` in ComfyUI 0.3.x.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

_CUSTOM = re.compile(r"^ *[\d.]+ seconds \(IMPORT FAILED\): (?P<path>.+)$")
_BUILT_IN = re.compile(r"^IMPORT FAILED: (?P<file>\S+\.py)$")
_BUILT_IN_GROUP = re.compile(r"^WARNING: some (?P<group>\w+)/ nodes did not import correctly")
_REASON = (
    "(?P<cannot>Cannot import {path} module for custom nodes: )"
    "|Skip {path} module for custom nodes due to "
    "|Error while calling comfy_entrypoint in {path}: "
    "|comfy_entrypoint in {path} "
)
_TRACEBACK = "Traceback (most recent call last):"


@dataclass(frozen=True, kw_only=True)
class ImportFailure:
    """A package of nodes that failed to import.

    `group` is `custom_nodes`, `comfy_extras` or `comfy_api_nodes`; `name` is the package in it.
    `reason` is the exception with its message, or what the core logged.
    """

    group: str
    name: str
    reason: str

    @property
    def sentence(self) -> str:
        """The failure as a sentence."""
        kind = "the custom node " if self.group == "custom_nodes" else f"{self.group}/"
        return f"{kind}{self.name} failed to import: {self.reason}"


def import_failures(log: Iterable[str]) -> list[ImportFailure]:
    """Every import failure in the lines of an engine's log, in order."""
    lines = [line.rstrip() for line in log]
    failures = []
    group = ""
    for line in lines:
        if match := _BUILT_IN_GROUP.match(line):
            group = match["group"]
        elif match := _BUILT_IN.match(line):
            name = match["file"]
            reason = _reason(lines, rf"\S*[/\\]{group}[/\\]{re.escape(name)}")
            failures.append(ImportFailure(group=group, name=name, reason=reason))
        elif match := _CUSTOM.match(line):
            name, reason = PurePath(match["path"]).name, _reason(lines, re.escape(match["path"]))
            failures.append(ImportFailure(group="custom_nodes", name=name, reason=reason))
    return failures


def _reason(lines: Sequence[str], path: str) -> str:
    reason = re.compile(_REASON.replace("{path}", path))
    for number, line in enumerate(lines):
        if match := reason.match(line):
            if match["cannot"]:
                return _exception_above(lines, number) or line[match.end() :]
            return line
    return "the engine's log gives no reason"


def _exception_above(lines: Sequence[str], number: int) -> str | None:
    """The exception of the traceback that ends above line `number`, on one line."""
    for at in range(number - 1, -1, -1):
        if lines[at] == _TRACEBACK:
            break
        if lines[at].startswith("  "):
            return " ".join(filter(None, lines[at + 1 : number])) or None
    return None
