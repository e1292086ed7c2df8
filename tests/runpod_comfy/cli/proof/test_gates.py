"""`realize --prove`: each gate is said, and the first that fails decides."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import pytest

from comfy_home.manifest import load_manifest
from runpod_comfy.cli.proof.gates import pass_gates
from runpod_comfy.cli.show.console import Console
from tests.media_files import noise, picture, with_one_step
from tests.painted_version import PaintedVersion
from tests.program import Outcome
from tests.runpod_comfy.homes.conftest import Version, version

__all__ = ["version"]

# They resolve packages.
pytestmark = pytest.mark.slow


def _proved(painted: PaintedVersion, *options: str) -> Outcome:
    return painted.program("realize", "demo", "--prove", *options)


def _gates(done: Outcome) -> dict[str, bool]:
    return {gate["gate"]: gate["passed"] for gate in json.loads(done.out)["gates"]}


def test_outputs_are_compared_with_their_baselines(painted: PaintedVersion) -> None:
    shutil.rmtree(painted.project / "workflows", ignore_errors=True)
    done = _proved(painted)
    assert done.code == 0, done.err
    told = [line for line in done.err.splitlines() if line.startswith("gate ")]
    assert [line.partition(":")[0] for line in told] == [
        "gate machine",
        "gate engine",
        "gate outputs",
    ]
    assert told[1].endswith("starts, with 1 custom node")
    assert told[2] == "gate outputs: passed: no workflow has a baseline"
    assert done.out.strip() == str(painted.home)

    painted.paint(picture(noise()))
    assert painted.repro(painted.workflow("good"), "--mode", "record").code == 0
    done = _proved(painted, "--json")
    assert done.code == 0, done.err
    assert _gates(done) == {"machine": True, "engine": True, "outputs": True}

    shutil.rmtree(painted.project / "outputs")
    painted.paint(picture(with_one_step(noise())))
    done = _proved(painted, "--json")
    assert "gate outputs: failed: the outputs differ from" in done.failed_with(4)
    assert "max 1 of 255" in done.err
    assert "The home stays realized." in done.err
    assert _gates(done) == {"machine": True, "engine": True, "outputs": False}
    assert not (painted.project / "outputs").exists()


def test_an_engine_that_does_not_start_is_found_in_a_home_that_is_complete(
    painted: PaintedVersion,
) -> None:
    broken = painted.home / "ComfyUI" / "custom_nodes" / "broken"
    broken.mkdir()
    (broken / "__init__.py").write_text("1 / 0\n")
    try:
        done = _proved(painted, "--json")
    finally:
        shutil.rmtree(broken)
    told = done.failed_with(1)
    assert "gate engine: failed: ComfyUI starts, but" in told
    assert "added by hand" in told
    assert _gates(done) == {"machine": True, "engine": False}
    manifest = load_manifest(painted.home)
    assert manifest is not None
    assert manifest.complete


@pytest.mark.parametrize("mode", ["--dry-run", "--verify"])
def test_what_realizes_nothing_cannot_be_proved(painted: PaintedVersion, mode: str) -> None:
    told = _proved(painted, mode).failed_with(2)
    assert f"{mode} realizes nothing that --prove could try" in told


def test_a_driver_that_is_too_old_fails_the_machine_before_any_start(
    version: Version, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("rp_handler.engine.command.needs_cpu", lambda _environment: False)
    monkeypatch.setattr("rp_handler.engine.cuda_driver.driver_cuda", lambda: (12, 8))
    monkeypatch.setattr(
        "runpod_comfy.lock.python.torch_family.cuda_on", lambda _python, _platform: "13.0"
    )
    arguments = argparse.Namespace(project=tmp_path, models_dir=None, verbose=False)
    (gate,) = pass_gates(version.job(), arguments, Console())
    assert gate.name == "machine"
    assert gate.sentence == "the driver has CUDA 12.8, this version needs 13.0."
    assert gate.exit_code == 3
