"""The demo's picture, recorded and compared: by `repro`, and twice in one worker."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from comfy_workflows.compare.baseline import compare_with_baseline, load_baseline
from comfy_workflows.compare.compare import compare
from comfy_workflows.compare.run import run_of
from comfy_workflows.graph import load_workflow, workflow_digest
from rp_handler.engine.prompt import Listener
from rp_handler.engine.supervisor import ResidentEngine
from rp_handler.home.realized import open_home
from rp_handler.job.job import Job
from rp_handler.job.run import run_job
from rp_handler.outputs.inline import Base64Sink
from tests.program import ROOT, Program

SPEC = ROOT / "versions" / "demo.json"


@pytest.fixture(scope="module")
def demo(program: Program, place: Path) -> Program:
    """The program beside a realized demo."""
    realized = Program(folder=place, variables={"COMFY_HOME": str(place / "home")})
    done = realized("realize", "--spec", SPEC)
    assert done.code == 0, done.err
    return realized


@pytest.fixture(scope="module")
def workflow(demo: Program, place: Path) -> Path:
    """The demo's example, recorded."""
    shutil.copy(ROOT / "workflows" / "example.json", place)
    workflow = place / "example.json"
    done = demo("repro", "--spec", SPEC, "--workflow", workflow, "--mode", "record")
    assert done.code == 0, done.err
    return workflow


def test_the_same_version_makes_the_same_picture_again(demo: Program, workflow: Path) -> None:
    done = demo("repro", "--spec", SPEC, "--workflow", workflow, "--json")
    (output,) = done.document()["outputs"]
    assert output["verdict"] == "equal"


def test_the_version_is_proved_with_its_baseline(demo: Program, workflow: Path) -> None:
    document = demo("prove", "--spec", SPEC, "--workflow", workflow, "--json").document()
    parts = {part["part"]: part for part in document["parts"]}
    assert {name for name, part in parts.items() if part["verdict"] == "equal"} == {
        *("lock", "core", "node:marbled_paper", "environment", "models", "outputs:example")
    }
    assert parts["lock"]["digest"] == document["lock_digest"]
    assert [one["holds"] for one in parts["outputs:example"]["baseline"]] == [True, True]


def test_two_jobs_of_one_worker_make_the_recorded_picture(workflow: Path, place: Path) -> None:
    graph = load_workflow(workflow)
    # The engine answers a repeated graph from its cache; this one computes all of it again.
    other = json.loads(workflow.read_text())
    other["1"]["inputs"]["seed"] += 1
    (place / "other.json").write_text(json.dumps(other))

    async def results() -> list[dict[str, Any]]:
        home = open_home(place / "home", version_id="demo", id_was_asked=False)
        listener = Listener(say=lambda _: None, progress=lambda _: None)
        made = []
        async with ResidentEngine(home, listener) as engine:
            for each in (graph, load_workflow(place / "other.json"), graph):
                job = Job(id="j", graph=each, place="g", sink=Base64Sink(), listener=listener)
                made.append(await run_job(job, engine))
        return made

    first, between, second = (run_of(each) for each in asyncio.run(results()))
    path = place / "example.baseline.json"
    baseline = load_baseline(path, workflow=workflow_digest(graph))
    for run in (first, second):
        (finding,) = compare_with_baseline(path, baseline, run).findings
        assert finding.verdict == "equal"
    assert not compare(first, between).holds
    assert compare(first, second).holds


def test_a_picture_with_provenance_can_be_made_again_and_says_what_is_missing(
    demo: Program, workflow: Path, place: Path
) -> None:
    options = ("--spec", SPEC, "--output-dir", place / "outputs")
    run = demo("run", *options, "--workflow", workflow, "--provenance", "--json").document()
    ((picture, sha256),) = ((one["path"], one["sha256"]) for one in run["images"])
    assert hashlib.sha256(Path(picture).read_bytes()).hexdigest() == sha256
    (model,) = run["provenance"]["models"]
    assert len(model["sha256"]) == 64

    again = place / "again.json"
    verify = ("verify-picture", picture, "--extract", again, "--json")
    found = demo(*verify, "--project", ROOT).document()
    assert {one["state"] for one in found["findings"]} == {"here"}
    assert found["provenance"]["models"] == run["provenance"]["models"]
    assert load_workflow(again).document == load_workflow(workflow).document
    baseline = ("--baseline", place / "example.baseline.json")
    repeated = demo("repro", *options, "--workflow", again, *baseline, "--json").document()
    assert [one["verdict"] for one in repeated["outputs"]] == ["equal"]
    marked = demo("run", *options, "--workflow", again, "--provenance", "--json").document()
    assert compare(run_of(run), run_of(marked)).holds
    assert marked["images"][0]["sha256"] == sha256

    # Another machine: neither the lock nor the model is there.
    elsewhere = {"COMFY_CACHE_ROOT": str(place / "no-cache"), "COMFY_HOME": str(place / "no-home")}
    done = Program(folder=place, variables=elsewhere)("verify-picture", picture)
    said = done.failed_with(3)
    for part in ("no lock of demo here is sha256:", "neither realized", f"model {model['path']}"):
        assert part in said


def test_a_colour_that_is_off_by_one_is_found_and_can_be_accepted(
    demo: Program, workflow: Path, place: Path
) -> None:
    path = place / "example.baseline.json"
    document = json.loads(path.read_text())
    (output,) = document["entries"][0]["outputs"]
    # Another machine recorded a picture that differs by one in one pixel.
    kept = place / "example.baseline" / output["file"]
    pixels = np.asarray(Image.open(kept)).copy()
    pixels[10, 20, 2] ^= 1
    Image.fromarray(pixels).save(kept)
    output["sha256"] = hashlib.sha256(kept.read_bytes()).hexdigest()
    output["content"]["sha256"] = "0" * 64
    path.write_text(json.dumps(document))

    repro = ("repro", "--spec", SPEC, "--workflow", workflow)
    assert "different: max 1 of 255, PSNR" in demo(*repro).failed_with(4)
    done = demo(*repro, "--tolerance", "max=1")
    assert (done.code, "Accepted with the tolerance max=1" in done.err) == (0, True)
