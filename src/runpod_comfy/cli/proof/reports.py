"""The page of `--report`: what it shows about a comparison, from runs, locks and node classes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_errors import InvalidInputError
from comfy_errors.names import quantity
from comfy_files.progress import readable_size
from comfy_files.user_paths import expanded
from runpod_comfy.cli.show.console import Console

if TYPE_CHECKING:
    from comfy_workflows.compare.baseline import Baseline
    from comfy_workflows.compare.compare import Comparison
    from comfy_workflows.compare.run import Circumstances
    from comfy_workflows.report.parts import Part, Report, ShownChange
    from runpod_comfy.lock.diff import LockChange

_PARTS: dict[str, Part] = {
    "core": "core",
    "nodes": "node",
    "python": "package",
    "models": "model",
    "environment": "setting",
}
_NOT_SHOWN = ("requested_by", "required_by")


def require_files(**paths: Path | None) -> None:
    """Raises InvalidInputError for an option, by its name, that names a folder instead of the file
    to write: before a run takes minutes.
    """
    for option, path in paths.items():
        if path is not None and expanded(path).is_dir():
            raise InvalidInputError(f"--{option} names a folder: {path}", remedy="Name a file.")


def write_page(path: Path, report: Report, console: Console) -> None:
    """Writes the page to `path` and says so. Raises OperationFailedError."""
    from comfy_workflows.report.page import write_report

    write_report(expanded(path), report)
    console.say(f"Wrote {path}")


def report_on_baseline(
    workflow: Path,
    path: Path,
    baseline: Baseline,
    result: Mapping[str, Any],
    comparison: Comparison,
) -> Report:
    """The page about a run that was compared with the baseline at `path`.

    Raises InvalidInputError for another document than a result, and OSError.
    """
    from comfy_workflows.compare.baseline import recorded_run
    from comfy_workflows.compare.run import run_of
    from comfy_workflows.graph import load_workflow
    from comfy_workflows.report.parts import Report, ShownRun

    run = run_of(result)
    recorded = recorded_run(path, baseline, run, tolerance=comparison.tolerance)
    version_id = run.circumstances.version_id or "this version"
    return Report(
        title=f"{workflow.name} on {version_id} and its baseline",
        workflow=workflow.name,
        graph=load_workflow(workflow),
        before=ShownRun(title=recorded.title, run=recorded),
        after=ShownRun(title=version_id, run=run, result=result),
        comparison=comparison,
        changes=core_changes(recorded.circumstances, run.circumstances),
    )


def core_changes(before: Circumstances, after: Circumstances) -> list[ShownChange]:
    """The change of ComfyUI's own version, if it is another one."""
    from comfy_workflows.report.parts import ShownChange

    if before.comfyui == after.comfyui:
        return []
    return [ShownChange(part="core", name="ComfyUI", before=before.comfyui, after=after.comfyui)]


def lock_changes(changes: Iterable[LockChange]) -> list[ShownChange]:
    """The differences between two locks as the page shows them, without what requires what."""
    from comfy_workflows.report.parts import ShownChange

    return [
        ShownChange(
            part=_PARTS[change.part],
            name=change.name,
            key=change.key if change.key != "value" else "",
            before=_text(change.key, change.before),
            after=_text(change.key, change.after),
        )
        for change in changes
        if change.key not in _NOT_SHOWN
    ]


def _text(key: str, value: Any) -> str | None:
    """A value in a lock as text; None if there is none."""
    if value is None or isinstance(value, str):
        return value
    if not key:
        from runpod_comfy.cli.show.lock_changes import main_values

        # All of a thing that was added or removed.
        return " ".join(main_values(value)) or "there"
    if key == "files":
        return quantity(len(value), "other file")
    if key == "size":
        return readable_size(value)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ", ".join(value)
    return json.dumps(value, ensure_ascii=False)
