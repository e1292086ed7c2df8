"""`test` on a real engine: one workflow, and all that have a baseline."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from junit_reports import Count, count_reports
from tests.media_files import noise, picture, with_one_step
from tests.painted_version import PaintedVersion, as_another_device
from tests.program import Outcome

# They resolve packages.
pytestmark = pytest.mark.slow

PICTURE = picture(noise())
NEAR = picture(with_one_step(noise()))


def run_test(painted: PaintedVersion, *options: str | Path) -> Outcome:
    return painted.program("test", "demo", *options)


@pytest.fixture
def recorded(painted: PaintedVersion) -> Path:
    """A workflow with a baseline; there are no others."""
    shutil.rmtree(painted.project / "workflows", ignore_errors=True)
    workflow = painted.workflow("good")
    painted.paint(PICTURE)
    assert painted.repro(workflow, "--mode", "record").code == 0
    return workflow


def test_the_result_is_printed_with_the_comparison(painted: PaintedVersion, recorded: Path) -> None:
    done = run_test(painted, "--workflow", recorded, "--output", "base64")
    document = done.document()
    assert base64.b64decode(document["images"][0]["data"]) == PICTURE
    assert document["comparison"]["holds"] is True
    assert "No output differs from" in done.err
    painted.paint(NEAR)
    page = recorded.with_suffix(".html")
    done = run_test(painted, "--workflow", recorded, "--output", "base64", "--report", page)
    assert "good.json on demo and its baseline" in page.read_text()
    assert "max 1 of 255" in done.failed_with(4)
    assert json.loads(done.out)["comparison"]["holds"] is False
    done = run_test(painted, "--workflow", recorded, "--tolerance", "max=1")
    assert (done.code, "Accepted with the tolerance max=1" in done.err) == (0, True)


def test_without_a_baseline_the_run_is_the_test(painted: PaintedVersion, tmp_path: Path) -> None:
    painted.paint(PICTURE)
    workflow = painted.workflow("unrecorded")
    done = run_test(painted, "--workflow", workflow, "--junit", tmp_path / "r.xml")
    assert done.code == 0
    assert "there is no baseline to compare with" in done.err
    assert count_reports(tmp_path) == Count(passed=0, failed=0)
    told = run_test(painted, "--workflow", workflow, "--report", "r.html").failed_with(3)
    assert "--report shows a comparison, and there is no baseline at" in told


def test_a_baseline_of_another_device_is_reported_before_the_run(
    painted: PaintedVersion, recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that the device is known before the run.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    as_another_device(recorded.with_name("good.baseline.json"))
    report = tmp_path / "r.xml"
    for options in (("--workflow", recorded), ("--all",)):
        report.unlink(missing_ok=True)
        told = run_test(painted, *options, "--junit", report).failed_with(3)
        assert "has no entry for this device, cpu on" in told
        assert "Starting ComfyUI" not in told
        (suite,) = ElementTree.parse(report).getroot()
        assert (suite.get("tests"), suite.get("errors")) == ("1", "1")
    done = run_test(painted, "--workflow", recorded, "--tolerance", "max=1")
    assert (done.code, "Starting ComfyUI" in done.err) == (0, True)


def test_a_report_has_the_failure_with_its_numbers(
    painted: PaintedVersion, recorded: Path, tmp_path: Path
) -> None:
    report = tmp_path / "reports" / "r.xml"
    assert run_test(painted, "--workflow", recorded, "--junit", report).code == 0
    assert count_reports(tmp_path) == Count(passed=1, failed=0)
    painted.paint(NEAR)
    assert run_test(painted, "--workflow", recorded, "--junit", report).code == 4
    (suite,) = ElementTree.parse(report).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("1", "1", "0")
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert failure.get("message") == "1 output: 1 different"
    assert "max 1 of 255" in str(failure.text)


def test_all_runs_every_workflow_with_a_baseline(
    painted: PaintedVersion, recorded: Path, tmp_path: Path
) -> None:
    painted.workflow("unrecorded")
    painted.paint(PICTURE, "other.png")
    other = painted.workflow("other", "other.png")
    assert painted.repro(other, "--mode", "record").code == 0
    report = tmp_path / "r.xml"
    done = run_test(painted, "--all", "--junit", report)
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        str(recorded),
        "  equal  Image 1 of node 1 (x.png)",
        str(other),
        "  equal  Image 1 of node 1 (other.png)",
    ]
    assert "2 of 2 workflows hold" in done.err
    assert count_reports(tmp_path) == Count(passed=2, failed=0)

    painted.paint(NEAR, "other.png")
    done = run_test(painted, "--all", "--json")
    assert done.code == 4
    cases = {Path(each["workflow"]).stem: each for each in json.loads(done.out)["workflows"]}
    assert (cases["good"]["exit_code"], cases["other"]["exit_code"]) == (0, 4)
    assert cases["other"]["comparison"]["outputs"][0]["verdict"] == "different"

    # What cannot be compared does not keep the others from it.
    recorded.with_name("good.baseline.json").write_text("{")
    done = run_test(painted, "--all", "--junit", report)
    assert "is not valid JSON" in done.failed_with(2)
    assert "0 of 2 workflows hold" in done.err
    (suite,) = ElementTree.parse(report).getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "1")


def test_all_without_baselines_or_with_a_workflow_is_a_sentence(
    painted: PaintedVersion, recorded: Path
) -> None:
    told = run_test(painted, "--all", "--workflow", recorded).failed_with(2)
    assert "--workflow cannot be used with --all" in told
    told = run_test(painted, "--all", "--report", "r.html").failed_with(2)
    assert "--report cannot be used with --all" in told
    recorded.with_name("good.baseline.json").unlink()
    told = run_test(painted, "--all").failed_with(3)
    assert "no workflow in" in told
    assert "--mode record" in told
