"""Writes a report: one HTML file that needs nothing else, for any browser."""

from __future__ import annotations

from pathlib import Path

from comfy_files.files import disk_errors, replace_file
from comfy_workflows.report.elements import written
from comfy_workflows.report.page import page
from comfy_workflows.report.parts import Report


def write_report(path: Path, report: Report) -> None:
    """Writes the report to `path`, whole or not at all. Raises OperationFailedError."""
    content = written(page(report))
    with disk_errors(f"the report {path} could not be written"):
        replace_file(path, content)
