"""A folder of workflows: their files, and those of their baselines beside them."""

from __future__ import annotations

from pathlib import Path

_BASELINE = ".baseline.json"


def workflow_files(folder: Path) -> list[Path]:
    """The files of workflows in `folder`, sorted, without baselines."""
    return sorted(path for path in folder.glob("*.json") if not is_baseline(path))


def baseline_path(workflow: Path) -> Path:
    """The usual baseline of a workflow: `x.baseline.json` beside `x.json`."""
    return workflow.with_name(f"{workflow.stem}{_BASELINE}")


def is_baseline(path: Path) -> bool:
    """True for the usual name of a baseline."""
    return path.name.endswith(_BASELINE)
