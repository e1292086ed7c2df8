"""Baselines that cannot be used, as a person sees it: before anything is realized or run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comfy_workflows.compare.run import Device
from comfy_workflows.graph import load_workflow, workflow_digest
from runpod_comfy.api import images
from runpod_comfy.cli.app import run_command_line
from tests.graphs import node, write_graph
from tests.ordinary_user import as_ordinary_user, users_folder


@pytest.fixture
def workflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workflow in a project without any version: nothing could be realized."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / "cache"))
    (tmp_path / "workflows").mkdir()
    return Path(write_graph(tmp_path / "workflows" / "w.json", {"1": node("Paint", name="x.png")}))


def _baseline(of: Path, **changes: Any) -> str:
    usual = {
        "schema": "runpod-comfy/baseline/2",
        "workflow": workflow_digest(load_workflow(of)),
        "entries": [],
    }
    return json.dumps(usual | changes)


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (None, 3, "there is no baseline at"),
        ({}, 3, "w.baseline.json has no entry\n  → Delete it, and record it again."),
        ("", 2, "w.baseline.json is not valid JSON: Expecting value at line 1, column 1"),
        ("[]", 2, "w.baseline.json is not a JSON object"),
        ("{}", 2, "is not a baseline: its \"schema\" is not 'runpod-comfy/baseline/2'"),
        ("\xff", 2, "w.baseline.json is not text in UTF-8 (byte 0)"),
        ("[" * 100_000, 2, "w.baseline.json is nested too deeply"),
        ({"schema": "runpod-comfy/baseline/3"}, 2, "has format 3, which is newer than 2"),
        ({"schema": "runpod-comfy/baseline/1"}, 2, "has the old format 1"),
        ({"schema": 2}, 2, "is not a baseline"),
        ({"workflow": "sha256:" + "0" * 64}, 2, "is of another workflow, or the workflow was"),
        ({"entries": [{}]}, 2, "w.baseline.json cannot be used: 'entries[0].circumstances'"),
        ({"entries": None}, 2, "w.baseline.json cannot be used: 'entries'"),
    ],
)
@pytest.mark.parametrize("command", ["repro", "test"])
def test_a_baseline_that_cannot_be_used_is_a_sentence(
    workflow: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    content: str | dict[str, Any] | None,
    code: int,
    said: str,
) -> None:
    path = workflow.with_name("w.baseline.json")
    if content is not None:
        text = content if isinstance(content, str) else _baseline(workflow, **content)
        path.write_bytes(text.encode("latin-1"))
    elif command == "test":
        # Without a baseline, the run itself is the test.
        said = "there is no version spec at"
    assert run_command_line([command, "demo", "--workflow", str(workflow)]) == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [("repro", "--workflow", "w.json"), ("test", "--workflow", "w.json")]
)
def test_a_baseline_that_is_a_folder_is_a_sentence(
    workflow: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
) -> None:
    monkeypatch.chdir(workflow.parent)
    Path("w.baseline.json").mkdir()
    assert run_command_line([arguments[0], "demo", *arguments[1:]]) == 2
    told = capsys.readouterr().err
    assert "the baseline w.baseline.json is a folder\n  → Name a file" in told


def test_a_baseline_of_another_device_is_reported_before_a_container_runs(
    workflow: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    device = {"name": "NVIDIA L4", "type": "cuda", "platform": "linux-x86_64"}
    circumstances = {"version_id": "demo", "lock": None, "comfyui": None, "device": device}
    path = workflow.with_name("w.baseline.json")
    path.write_text(_baseline(workflow, entries=[{"circumstances": circumstances, "outputs": []}]))
    cpu = Device(name="cpu", type="cpu", platform="linux-x86_64")
    monkeypatch.setattr(images, "device_of_image", lambda _image: cpu)
    monkeypatch.setattr(images, "run_image", lambda *_, **__: pytest.fail("it runs"))
    command = ["repro", "demo", "--workflow", str(workflow), "--image", "small:1"]
    assert run_command_line(command) == 3
    assert "has no entry for this device, cpu on linux-x86_64" in capsys.readouterr().err


@pytest.fixture
def place() -> Iterator[Path]:
    yield from users_folder()


def test_a_baseline_that_may_not_be_read_is_a_sentence(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    workflow = Path(write_graph(place / "w.json", {"1": node("Paint", name="x.png")}))
    (place / "w.baseline.json").write_text(_baseline(workflow))

    def compare() -> None:
        (place / "w.baseline.json").chmod(0)
        code = run_command_line(["repro", "demo", "--workflow", str(workflow)])
        assert code == 2

    as_ordinary_user(compare, place)
    told = capfd.readouterr().err
    assert "w.baseline.json cannot be read: permission denied\n  → Check the permissions" in told
