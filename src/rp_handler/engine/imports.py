"""What the start-up hook of an engine reports: how the core executed the modules of nodes.

The hook, `start_hook/sitecustomize.py`, runs in the engine's own process and writes one JSON object
per line. It shares that process with the nodes, so a line that is not as expected is skipped.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from comfy_files.json_model import Reported

CUSTOM_NODES = "custom_nodes"
# Absolute: the engine has another working directory.
_HOOK = Path(__file__).absolute().parent / "start_hook"
_SETTING = "RP_HANDLER_IMPORTS"
_LARGEST_REPORT_BYTES = 32 * 1024 * 1024


class Place(Reported):
    """A line of a source file."""

    file: str
    line: int


class Raised(Reported):
    """One exception. `module` is that of an ImportError, `errno` and `filename` are those of an
    OSError.
    """

    type: str
    message: str = ""
    module: str | None = None
    errno: int | None = None
    filename: str | None = None

    @property
    def in_words(self) -> str:
        """The exception on one line."""
        message = " ".join(self.message.split())
        return f"{self.type}: {message}" if message else self.type


class ImportEvent(Reported):
    """One event of a module that the core looks for in a node package.

    `group` is `custom_nodes`, or `comfy_extras` or `comfy_api_nodes` for the core's own; `name` is
    the folder or file in it; `file` is relative to ComfyUI's folder. `number` identifies the
    execution; `by_core` is false for one that another node started. A module that `finished` has
    node `classes`, an entrypoint or web files; an entrypoint that finished has `classes`. One that
    `raised` has a `chain`: the exception, then its causes; `place` is in the node's own code,
    `raised_at` the innermost frame. An exception that `is_fatal`, such as SystemExit, ends the
    engine.
    """

    event: Literal["began", "finished", "raised"]
    group: str
    name: str
    stage: Literal["prestartup", "import", "entrypoint"]
    file: str
    number: int
    by_core: bool
    classes: list[str] | None = None
    has_entrypoint: bool = False
    has_web: bool = False
    chain: list[Raised] = []
    place: Place | None = None
    raised_at: Place | None = None
    traceback: str = ""
    is_fatal: bool = False

    @property
    def title(self) -> str:
        """The node package in messages."""
        return title_of(self.group, self.name)


def title_of(group: str, name: str) -> str:
    """A node package in messages."""
    return f"the custom node {name}" if group == CUSTOM_NODES else f"{group}/{name}"


class ImportReport(Reported):
    """The events of one engine, in order. `is_observed` is false if the hook never ran."""

    is_observed: bool
    events: list[ImportEvent]

    @property
    def last_executed(self) -> ImportEvent | None:
        """Of an engine that has ended: the module that was executed then, innermost if several;
        else the one that ended the engine by what it raised.
        """
        over = {event.number for event in self.events if event.event != "began"}
        begun = [event for event in self.events if event.number not in over]
        if begun:
            return begun[-1]
        last = next((event for event in reversed(self.events) if event.by_core), None)
        return last if last is not None and last.is_fatal else None


def hook_variables(
    environment: Mapping[str, str],
    *,
    core: Path,
    report: Path,
    memory: int | None = None,
    left_out: Iterable[str] = (),
    node_outputs: Path | None = None,
) -> dict[str, str]:
    """The variables with which an engine with this `environment` reports into the file `report`,
    answers at the descriptor `memory` of a PeakMemory, and fails to import the custom nodes
    `left_out` instead of executing them. It reports hashes of what nodes give into the existing
    file `node_outputs`, if there is one.
    """
    setting = {
        "report": str(report),
        "core": str(core),
        "left_out": sorted(left_out),
        "memory": memory,
        "node_outputs": str(node_outputs) if node_outputs is not None else None,
    }
    paths = [str(_HOOK), *filter(None, [environment.get("PYTHONPATH")])]
    return {
        "PYTHONPATH": os.pathsep.join(paths),
        _SETTING: json.dumps(setting),
    }


def read_report(path: Path) -> ImportReport:
    """The report in a file, empty if there is none."""
    try:
        with path.open("rb") as stream:
            lines = stream.read(_LARGEST_REPORT_BYTES).split(b"\n")
    except OSError:
        lines = []
    events = []
    for line in lines:
        with contextlib.suppress(ValidationError):
            events.append(ImportEvent.model_validate_json(line))
    return ImportReport(is_observed=any(b'"start"' in line for line in lines[:1]), events=events)
