"""Node packages that do not work on a running engine, judged by what its start-up hook reported."""

from __future__ import annotations

import errno
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy_home.layout import HomeLayout
from rp_handler.engine.imports import (
    CUSTOM_NODES,
    ImportEvent,
    ImportReport,
    Place,
    Raised,
    title_of,
)

_STAGES = {
    "import": "failed to import",
    "prestartup": "failed in its prestartup_script.py",
    "entrypoint": "failed in its comfy_entrypoint",
}
_PACKAGES = "site-packages/"
_REFUSALS = (errno.EACCES, errno.EPERM, errno.EROFS)
# As `subprocess` quotes a command.
_INSTALLS = re.compile(r"\b(?:pip3?|uv)\b.*\b(?:install|uninstall|sync|add)\b")


@dataclass(frozen=True, kw_only=True)
class ImportFault:
    """A node package that does not work. `reason` says what was raised and where, or what else is
    wrong; `event` is the one that raised, None if none did.
    """

    group: str
    name: str
    fault: str
    reason: str = ""
    event: ImportEvent | None = None

    @property
    def is_custom(self) -> bool:
        return self.group == CUSTOM_NODES

    @property
    def sentence(self) -> str:
        """The fault as a sentence without a full stop."""
        reason = f": {self.reason}" if self.reason else ""
        return f"{title_of(self.group, self.name)} {self.fault}{reason}"

    @property
    def chain(self) -> list[Raised]:
        """The exception, then its causes."""
        return self.event.chain if self.event else []


def import_faults(report: ImportReport, *, core: Path, nodes: Collection[str]) -> list[ImportFault]:
    """Every package that failed in the folder `core`, sorted. `nodes` are those of the version:
    each must have been executed.
    """
    found: dict[tuple[str, ...], ImportFault] = {}
    executed: set[tuple[str, str]] = set()
    for event in report.events:
        if not event.by_core:
            continue
        key = (event.group, event.name)
        if event.stage == "import":
            executed.add(key)
            # The last execution counts.
            found.pop((*key, "import"), None)
        fault = _fault_of(event, report, core)
        if fault is not None:
            found[(*key, event.stage)] = fault
    never = [
        ImportFault(group=CUSTOM_NODES, name=name, fault="was never executed by ComfyUI")
        for name in nodes
        # A node may be a single file.
        if executed.isdisjoint({(CUSTOM_NODES, name), (CUSTOM_NODES, f"{name}.py")})
    ]
    return sorted([*found.values(), *never], key=lambda fault: (fault.group, fault.name))


def unlisted_nodes(
    report: ImportReport, object_info: Mapping[str, Any], faults: Iterable[ImportFault]
) -> list[ImportFault]:
    """The packages without a fault so far of whose node classes the engine lists none."""
    known = {(fault.group, fault.name) for fault in faults}
    return [
        ImportFault(
            group=event.group,
            name=event.name,
            fault="registers node classes, but ComfyUI lists none of them",
            reason=", ".join(event.classes[:3]),
            event=event,
        )
        for event in report.events
        if event.by_core and event.event == "finished" and event.classes
        if event.group == CUSTOM_NODES and (event.group, event.name) not in known
        if object_info.keys().isdisjoint(event.classes)
    ]


def _fault_of(event: ImportEvent, report: ImportReport, core: Path) -> ImportFault | None:
    fault, reason = "", ""
    if event.event == "raised":
        fault, reason = _STAGES[event.stage], _reason(event, core)
        if refused_write(event, core):
            fault = "may not change the Python environment"
    elif event.event == "finished" and event.stage == "import" and event.group == CUSTOM_NODES:
        fault = _missing(event, report, core)
    if not fault:
        return None
    return ImportFault(
        group=event.group,
        name=event.name,
        fault=fault,
        reason=reason,
        event=event if event.event == "raised" else None,
    )


def refused_write(event: ImportEvent, core: Path) -> bool:
    """True if a node tried to write to the environment of the home with this `core`, or to install
    packages, and could not.
    """
    venv = HomeLayout(root=core.parent).venv
    return any(
        (
            raised.errno in _REFUSALS
            and raised.filename is not None
            and (Path(raised.filename).is_relative_to(venv) or _PACKAGES in raised.filename)
        )
        or (raised.type == "CalledProcessError" and _INSTALLS.search(raised.message) is not None)
        for raised in event.chain
    )


def _missing(event: ImportEvent, report: ImportReport, core: Path) -> str:
    """What a module that was executed lacks; empty for a node, and for one that has only web files,
    which the core serves although it logs an import failure.
    """
    if event.classes is not None or event.has_web or _has_web_folder(core / event.file):
        return ""
    if not event.has_entrypoint:
        return (
            "has neither nodes nor web files (NODE_CLASS_MAPPINGS, comfy_entrypoint or "
            "WEB_DIRECTORY)"
        )
    called = any(
        other.number == event.number and other.stage == "entrypoint" for other in report.events
    )
    return "" if called else "has only a comfy_entrypoint, which this ComfyUI does not call"


def _has_web_folder(file: Path) -> bool:
    """True if the node's pyproject.toml names a folder of web files, as newer cores read it."""
    try:
        document = tomllib.loads((file.parent / "pyproject.toml").read_text(encoding="utf-8"))
        web = document["tool"]["comfy"]["web"]
        return bool(web) and (file.parent / web).is_dir()
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _reason(event: ImportEvent, core: Path) -> str:
    raised = event.chain[0].in_words if event.chain else "an exception"
    if event.place is None:
        return raised
    at = ""
    if event.raised_at not in (None, event.place):
        at = f" (raised at {_in_words(event.raised_at, core)})"
    return f"{_in_words(event.place, core)}: {raised}{at}"


def _in_words(place: Place | None, core: Path) -> str:
    if place is None:
        return ""
    file = place.file
    for root in {str(core), str(core.resolve())}:
        file = file.removeprefix(f"{root}/")
    if _PACKAGES in file:
        file = file.rpartition(_PACKAGES)[2]
    return f"{file}, line {place.line}"
