"""A report is one HTML file with everything that was compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_errors import OperationFailedError
from comfy_workflows.compare.compare import compare
from comfy_workflows.graph import parse_workflow
from comfy_workflows.report.report import Report, Side, write_report
from tests.comfy_workflows.compare.runs import file, result, run
from tests.media_files import noise, picture, with_one_step

GRAPH = parse_workflow({"6": {"class_type": "SaveImage", "inputs": {}}}, place="x.json")


def _report(title: str = "demo and demo2") -> Report:
    before, after = run(file(picture(noise()))), run(file(picture(with_one_step(noise()))))
    return Report(
        title=title,
        workflow="x.json",
        graph=GRAPH,
        before=Side(title="demo", run=before),
        after=Side(title="demo2", run=after, result=result()),
        comparison=compare(before, after),
    )


def test_a_report_has_its_title_escaped(tmp_path: Path) -> None:
    path = tmp_path / "out.html"
    write_report(path, _report("</title><script>alert(1)</script>"))
    text = path.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "Image 1 of node 6" in text


def test_a_report_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OperationFailedError, match="the report"):
        write_report(tmp_path, _report())
