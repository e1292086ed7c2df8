"""`repro` on a real engine: what a person sees, and what stays on disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runpod_comfy.cli.proof.runs import runner_at
from runpod_comfy.cli.proof.test import tested as run_and_compare
from tests.graphs import node, saving, write_graph
from tests.media_files import noise, picture, with_one_step
from tests.painted_version import PaintedVersion, as_another_device
from tests.program import Program

# They resolve packages.
pytestmark = pytest.mark.slow

PICTURE = picture(noise())
NEAR = picture(with_one_step(noise()))


def changed(path: Path, change: dict[str, Any]) -> None:
    """Changes keys of a baseline."""
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def test_what_was_recorded_is_compared_by_what_it_shows(painted: PaintedVersion) -> None:
    workflow = painted.workflow("shown")
    baseline = workflow.with_name("shown.baseline.json")
    painted.paint(PICTURE)
    done = painted.repro(workflow, "--mode", "record")
    assert (done.code, done.out) == (0, f"recorded 1 output of {_device(baseline)} in {baseline}\n")

    done = painted.repro(workflow, "--mode", "compare")
    assert (done.code, done.out) == (0, "equal  Image 1 of node 1 (x.png)\n"), done.err
    assert f"No output differs from {baseline}: 1 output: 1 equal" in done.err

    painted.paint(picture(noise(), said="another prompt"))
    done = painted.repro(workflow)
    assert done.code == 0
    assert done.out.startswith("same content  Image 1 of node 1 (x.png): only its file differs")

    painted.paint(NEAR)
    page = painted.project / "reports" / "shown.html"
    done = painted.repro(workflow, "--report", page)
    assert "shown.json on demo and its baseline" in page.read_text()
    assert f"Wrote {page}" in done.err
    assert "Image 1 of node 1: different: max 1 of 255, PSNR 83.0 dB" in done.failed_with(4)
    assert "different  Image 1 of node 1 (x.png): max 1 of 255" in done.out

    done = painted.repro(workflow, "--tolerance", "max=1", "--json")
    document = done.document()
    (output,) = document["outputs"]
    assert (document["holds"], output["verdict"]) == (True, "within tolerance")
    assert output["numbers"]["max_difference"] == 1
    assert Path(painted.project, document["result"]["images"][0]["path"]).read_bytes() == NEAR
    assert "Accepted with the tolerance max=1" in done.err
    assert painted.repro(workflow, "--tolerance", "psnr=90").code == 4

    done = painted.repro(workflow, "--mode", "record", "--json")
    assert done.document()["replaced"] is True
    assert painted.repro(workflow).code == 0


def _device(baseline: Path) -> str:
    device = json.loads(baseline.read_text())["entries"][0]["circumstances"]["device"]
    return f"{device['name']} on {device['platform']}"


def test_the_node_that_differs_first_is_named_when_asked(painted: PaintedVersion) -> None:
    workflow = painted.project / "workflows" / "diced.json"
    workflow.parent.mkdir(exist_ok=True)
    # Between and after the node that is made random are two that are not.
    graph = {
        "1": node("FixtureText", text="x"),
        "2": node("Dice"),
        "3": saving(["2", 0], prefix=["1", 0]),
        "4": node("FixtureShow", ui=["1", 0]),
    }
    write_graph(workflow, graph)
    assert painted.repro(workflow, "--mode", "record").code == 0
    told = painted.repro(workflow).failed_with(4)
    assert "Neither the lock nor the device has changed: `repro` with --explain names" in told

    done = painted.repro(workflow, "--explain")
    assert done.code == 4
    first = "Node 2 (Dice) is the first whose output differs between two runs of this version."
    assert f"Note: {first}" in done.err
    assert "--explain" not in done.err
    explanation = json.loads(painted.repro(workflow, "--explain", "--json").out)["explanation"]
    assert (explanation["sentence"], explanation["first"]["node"]) == (first, "2")
    verdicts = {one["node"]: one["verdict"] for one in explanation["nodes"]}
    assert verdicts == {"1": "equal", "2": "different", "3": "equal", "4": "equal"}


def test_a_version_that_makes_the_same_twice_is_said_to(painted: PaintedVersion) -> None:
    workflow = painted.workflow("repainted")
    painted.paint(PICTURE)
    assert painted.repro(workflow, "--mode", "record").code == 0
    done = painted.repro(workflow, "--explain", "--json")
    assert "explanation" not in done.document()
    painted.paint(NEAR)
    done = painted.repro(workflow, "--explain")
    assert done.code == 4
    assert "Note: Two runs of this version are equal" in done.err


def test_another_device_is_a_sentence_and_is_used_with_a_tolerance(
    painted: PaintedVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So that the device is known before the run.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    workflow = painted.workflow("elsewhere")
    baseline = workflow.with_name("elsewhere.baseline.json")
    painted.paint(PICTURE)
    assert painted.repro(workflow, "--mode", "record").code == 0
    as_another_device(baseline)
    done = painted.repro(workflow)
    told = done.failed_with(3)
    assert "has no entry for this device, cpu on" in told
    assert "it has NVIDIA L4 on" in told
    assert "Starting ComfyUI" not in done.err
    runner = runner_at(painted.home, "demo", output="files", verbose=False)
    case = run_and_compare(workflow, None, replace(runner, run=lambda _: pytest.fail("it runs")))
    assert case.error is not None
    assert "has no entry for this device, cpu on" in case.error.message
    painted.paint(NEAR)
    done = painted.repro(workflow, "--tolerance", "max=1")
    assert done.code == 0, done.err
    assert "Starting ComfyUI" in done.err
    assert "Note: The baseline has no entry for cpu on" in done.err
    assert "Note: The device was NVIDIA L4, and is cpu." in done.err
    done = painted.repro(workflow, "--mode", "record")
    assert "; it also has NVIDIA L4 on" in done.out
    assert len(json.loads(baseline.read_text())["entries"]) == 2
    assert painted.repro(workflow).code == 0


def test_a_baseline_that_cannot_be_used_is_a_sentence_before_any_run(
    painted: PaintedVersion,
) -> None:
    workflow = painted.workflow("refused")
    baseline = workflow.with_name("refused.baseline.json")
    # With an empty cache and no network, nothing could be realized.
    nowhere = Program(
        folder=painted.project,
        variables={
            "COMFY_HOME": str(painted.project / "nowhere"),
            "COMFY_CACHE_ROOT": str(painted.project / "empty"),
        },
    )

    def told(code: int, *options: str) -> str:
        done = nowhere("repro", "demo", "--offline", "--workflow", workflow, *options)
        return done.failed_with(code)

    assert f"there is no baseline at {baseline}" in told(3)
    painted.paint(PICTURE)
    assert painted.repro(workflow, "--mode", "record").code == 0
    whole = baseline.read_bytes()
    changed(baseline, {"schema": "runpod-comfy/baseline/3"})
    assert "has format 3, which is newer than 2" in told(2)
    assert "newer" in told(2, "--mode", "record")
    changed(baseline, {"schema": "runpod-comfy/baseline/1"})
    assert "has the old format 1" in told(2)
    baseline.write_bytes(whole[:-20])
    assert "is not valid JSON" in told(2)
    baseline.write_bytes(whole)
    painted.workflow("refused", "y.png")
    assert "is of another workflow" in told(2)
    assert "is of another workflow" in told(2, "--mode", "record")
    assert baseline.read_bytes() == whole


def test_a_recorded_picture_that_is_broken_is_a_sentence(painted: PaintedVersion) -> None:
    workflow = painted.workflow("broken")
    painted.paint(PICTURE)
    assert painted.repro(workflow, "--mode", "record").code == 0
    (kept,) = workflow.with_name("broken.baseline").iterdir()
    kept.write_bytes(PICTURE[:100])
    painted.paint(NEAR)
    told = painted.repro(workflow, "--tolerance", "max=1").failed_with(4)
    assert f"no tolerance can be applied, because {kept} is not the file that was recorded" in told
    kept.unlink()
    kept.mkdir()
    told = painted.repro(workflow, "--tolerance", "max=1").failed_with(4)
    assert f"because the recorded file cannot be read: is a directory: {kept}" in told


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--tolerance", "max"), 'the tolerance has "max"'),
        (
            ("--mode", "record", "--tolerance", "max=1"),
            "--tolerance only applies to --mode compare",
        ),
        (("--mode", "record", "--report", "r.html"), "--report only applies to --mode compare"),
        (("--report", "versions"), "--report names a folder: versions"),
        (("--mode", "record", "--explain"), "--explain only applies to --mode compare"),
        (("--image", "x", "--target", "y", "--port", "1"), "--target and --port cannot be used"),
        (("--mode", "prove"), "invalid choice"),
        (("--workflow", "nowhere.json"), "there is no workflow at nowhere.json"),
    ],
)
def test_options_that_do_not_fit_are_a_sentence(
    painted: PaintedVersion, options: tuple[str, ...], said: str
) -> None:
    workflow = painted.workflow("fitting")
    painted.paint(PICTURE)
    baseline = workflow.with_name("fitting.baseline.json")
    if not baseline.exists():
        assert painted.repro(workflow, "--mode", "record").code == 0
    done = painted.repro(workflow, *options)
    assert done.code == (3 if "nowhere.json" in options else 2)
    assert said in done.err


def test_a_workflow_without_outputs_has_nothing_to_record(painted: PaintedVersion) -> None:
    workflow = painted.workflow("empty")
    workflow.write_text("{}")
    told = painted.repro(workflow, "--mode", "record").failed_with(2)
    assert "the workflow has no outputs, so there is nothing to record" in told
    assert not workflow.with_name("empty.baseline.json").exists()


def test_a_run_that_fails_keeps_the_baseline(painted: PaintedVersion) -> None:
    workflow = painted.workflow("failing", "failing.png")
    painted.paint(PICTURE, "failing.png")
    assert painted.repro(workflow, "--mode", "record").code == 0
    baseline = workflow.with_name("failing.baseline.json")
    whole = baseline.read_bytes()
    (painted.home / "input" / "failing.png").unlink()
    for mode in ("record", "compare"):
        done = painted.repro(workflow, "--mode", mode, "--json")
        assert "failing.png" in done.failed_with(1)
        assert json.loads(done.out)["exit_code"] == 1
    assert baseline.read_bytes() == whole
