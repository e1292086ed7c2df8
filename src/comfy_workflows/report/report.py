"""Writes a report: one HTML file that needs nothing else, for any browser."""

from __future__ import annotations

from pathlib import Path

from comfy_files.files import disk_errors, replace_file
from comfy_workflows.report.elements import Element, element, elements, written
from comfy_workflows.report.parts import Change, Replaced, Report, Side

__all__ = ["Change", "Replaced", "Report", "Side", "write_report"]


def write_report(path: Path, report: Report) -> None:
    """Writes the report to `path`, whole or not at all. Raises OperationFailedError."""
    page = written(_page(report))
    with disk_errors(f"the report {path} could not be written"):
        replace_file(path, page)


def _page(report: Report) -> Element:
    findings = [finding.in_words() for finding in report.comparison.findings]
    return element(
        "html",
        {"lang": "en"},
        element(
            "head",
            None,
            element("meta", {"charset": "utf-8"}),
            element("title", None, report.title),
        ),
        element(
            "body",
            None,
            element("h1", None, report.title),
            element("p", None, report.comparison.summary()),
            element("ul", None, *elements("li", findings)),
        ),
    )
