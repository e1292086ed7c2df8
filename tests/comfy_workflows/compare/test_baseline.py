from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from comfy_errors import InvalidInputError, OperationFailedError, UnavailableError
from comfy_workflows.compare.baseline import (
    Recording,
    compare_with_baseline,
    files_folder,
    load_baseline,
    record,
)
from comfy_workflows.compare.compare import Comparison
from comfy_workflows.compare.run import Run
from comfy_workflows.compare.tolerance import parse_tolerance
from comfy_workflows.folder import baseline_path
from tests.comfy_workflows.compare.runs import CPU, GPU, WORKFLOW, file, run
from tests.media_files import noise, picture, with_one_step

PICTURE = picture(noise())
NEAR = picture(with_one_step(noise()))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.baseline.json"


def recorded(path: Path, *files: dict[str, Any], **changes: Any) -> Recording:
    return record(path, run(*files, **changes), workflow=WORKFLOW)


def compared(path: Path, after: Run, tolerance: str = "") -> Comparison:
    baseline = load_baseline(path, workflow=WORKFLOW)
    bounds = parse_tolerance(tolerance) if tolerance else None
    return compare_with_baseline(path, baseline, after, tolerance=bounds)


def files(path: Path) -> set[str]:
    return {each.name for each in files_folder(path).iterdir()}


def test_a_recorded_run_is_equal_to_itself(path: Path) -> None:
    done = recorded(path, file(PICTURE), text="hello")
    assert (done.replaced, done.devices) == (False, ["cpu on linux-x86_64"])
    found = compared(path, run(file(PICTURE), text="hello"))
    assert [finding.verdict for finding in found.findings] == ["equal", "equal"]
    document = json.loads(path.read_text())
    (output, text) = document["entries"][0]["outputs"]
    assert (files_folder(path) / output["file"]).read_bytes() == PICTURE
    assert (files_folder(path) / text["file"]).read_text() == "hello"
    assert output["content"]["facts"] == {"width": 32, "height": 24, "mode": "RGB", "frames": 1}


def test_a_difference_is_measured_against_the_recorded_file(path: Path) -> None:
    recorded(path, file(PICTURE))
    found = compared(path, run(file(NEAR)))
    assert "max 1 of 255" in found.findings[0].sentence
    assert compared(path, run(file(NEAR)), "max=1").holds


def test_without_the_recorded_file_a_tolerance_cannot_be_applied(path: Path) -> None:
    recorded(path, file(PICTURE))
    for each in files_folder(path).iterdir():
        each.unlink()
    assert compared(path, run(file(picture(noise(), said="x")))).holds
    plain = compared(path, run(file(NEAR)))
    assert "its perceptual hash is equal" in plain.findings[0].sentence
    assert not plain.holds
    bounded = compared(path, run(file(NEAR)), "max=255")
    assert "no tolerance can be applied, because the recorded file" in bounded.findings[0].sentence
    assert not bounded.holds


def test_a_recorded_file_that_was_changed_is_not_used(path: Path) -> None:
    recorded(path, file(PICTURE))
    (kept,) = files_folder(path).iterdir()
    kept.write_bytes(NEAR)
    found = compared(path, run(file(NEAR)), "max=255")
    assert "is not the file that was recorded" in found.findings[0].sentence


def test_a_record_replaces_the_entry_of_its_device_only(path: Path) -> None:
    recorded(path, file(PICTURE))
    recorded(path, file(NEAR), device=GPU)
    done = recorded(path, file(picture(noise(seed=5))), device={**CPU, "processor": "newer"})
    assert done.replaced
    assert done.devices == ["cpu on linux-x86_64", "NVIDIA L4 on linux-x86_64"]
    assert compared(path, run(file(NEAR), device=GPU)).holds
    assert compared(path, run(file(picture(noise(seed=5))))).holds
    assert len(files(path)) == 2, "what no entry has any more is removed"


def test_files_of_people_in_the_folder_stay(path: Path) -> None:
    recorded(path, file(PICTURE))
    (files_folder(path) / "notes.md").write_text("mine")
    (files_folder(path) / ".0123456789abcdef.png.partial").write_text("of a killed record")
    recorded(path, file(NEAR))
    assert (files_folder(path) / "notes.md").read_text() == "mine"
    assert len(files(path)) == 2


def test_a_device_without_an_entry_is_a_sentence(path: Path) -> None:
    recorded(path, file(PICTURE))
    with pytest.raises(UnavailableError) as raised:
        compared(path, run(file(PICTURE), device=GPU))
    assert "has no entry for this device, NVIDIA L4 on linux-x86_64" in raised.value.message
    assert "it has cpu on linux-x86_64" in raised.value.message
    assert "--mode record" in raised.value.remedy


def test_with_a_tolerance_the_closest_device_is_used_and_said(path: Path) -> None:
    recorded(path, file(picture(noise(seed=9))))
    recorded(path, file(PICTURE), device=GPU)
    found = compared(path, run(file(NEAR), device={**GPU, "name": "NVIDIA H200"}), "max=1")
    assert found.holds
    assert found.notes == (
        "The baseline has no entry for NVIDIA H200 on linux-x86_64; that of NVIDIA L4 on "
        "linux-x86_64 was used.",
    )


def _record_on(path: Path, number: int) -> None:
    recorded(path, file(PICTURE), device={**GPU, "name": f"GPU {number}"})


def test_records_at_once_lose_no_entry(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_record_on, args=(path, number)) for number in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 6
    assert len(json.loads(path.read_text())["entries"]) == 6


def test_a_missing_baseline_says_how_to_record_one(path: Path) -> None:
    with pytest.raises(UnavailableError, match="there is no baseline at") as raised:
        load_baseline(path, workflow=WORKFLOW)
    assert "--mode record" in raised.value.remedy


def test_a_baseline_of_another_workflow_is_refused_also_by_a_record(path: Path) -> None:
    recorded(path, file(PICTURE))
    before = path.read_bytes()
    other = "sha256:" + "c" * 64
    with pytest.raises(InvalidInputError, match="is of another workflow") as raised:
        load_baseline(path, workflow=other)
    assert "delete" in raised.value.remedy
    with pytest.raises(InvalidInputError, match="is of another workflow"):
        record(path, run(file(NEAR)), workflow=other)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ("runpod-comfy/baseline/3", "has format 3, which is newer than 2"),
        ("runpod-comfy/baseline/1", "has the old format 1"),
        ("something/else", "is not a baseline"),
        (None, "is not a baseline"),
        (["runpod-comfy/baseline/2"], "is not a baseline"),
    ],
)
def test_another_format_is_a_sentence(path: Path, schema: object, said: str) -> None:
    path.write_text(json.dumps({"schema": schema, "outputs": []}))
    with pytest.raises(InvalidInputError, match=said):
        load_baseline(path, workflow=WORKFLOW)


_CHANGES: list[dict[str, Any]] = [
    {"sha256": "short"},
    {"file": "../../outside.png"},
    {"file": "0123456789abcdef/x"},
    {"number": -1},
    {"kind": "music"},
    {"more": 1},
    {"content": {"rule": "taste", "sha256": "0" * 64}},
]


@pytest.mark.parametrize("change", _CHANGES)
def test_a_baseline_is_read_strictly(path: Path, change: dict[str, Any]) -> None:
    recorded(path, file(PICTURE))
    document = json.loads(path.read_text())
    document["entries"][0]["outputs"][0] |= change
    path.write_text(json.dumps(document))
    with pytest.raises(InvalidInputError, match=r"the baseline .* cannot be used: 'entries\[0\]"):
        load_baseline(path, workflow=WORKFLOW)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\xff", "[" * 100_000])
def test_a_broken_file_is_a_sentence(path: Path, text: str) -> None:
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidInputError, match=r"the baseline .*x\.baseline\.json is ") as raised:
        load_baseline(path, workflow=WORKFLOW)
    assert raised.value.remedy == "Delete it, and record it again."


def test_a_baseline_without_an_entry_is_recorded_again(path: Path) -> None:
    recorded(path, file(PICTURE))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"entries": []}))
    with pytest.raises(UnavailableError, match="has no entry") as raised:
        load_baseline(path, workflow=WORKFLOW)
    assert raised.value.remedy == "Delete it, and record it again."
    recorded(path, file(PICTURE))
    assert load_baseline(path, workflow=WORKFLOW).entries


def test_a_file_that_is_no_baseline_is_not_written_over(tmp_path: Path) -> None:
    workflow = tmp_path / "x.json"
    workflow.write_text("{}")
    with pytest.raises(InvalidInputError, match="is not a baseline"):
        recorded(workflow, file(PICTURE))
    assert list(tmp_path.iterdir()) == [workflow]


def test_what_cannot_be_recorded_is_a_sentence(path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no outputs, so there is nothing to record"):
        recorded(path)
    with pytest.raises(InvalidInputError, match="Image 1 of node 6 cannot be recorded"):
        recorded(path, {**file(PICTURE), "type": "gcs", "uri": "gs://b/x.png"})
    with pytest.raises(OperationFailedError, match="was changed while it was recorded"):
        recorded(path, {**file(PICTURE), "sha256": "0" * 64})
    assert not path.exists()


def test_a_picture_that_cannot_be_decoded_is_recorded_with_a_note(path: Path) -> None:
    done = recorded(path, file(b"no picture"))
    assert done.notes[0].startswith("Image 1 of node 6: it is broken or of an unknown format")
    assert compared(path, run(file(b"no picture"))).holds


def test_the_files_of_a_baseline_are_in_a_folder_beside_it(tmp_path: Path) -> None:
    path = baseline_path(tmp_path / "a.b.json")
    assert path == tmp_path / "a.b.baseline.json"
    assert files_folder(path) == tmp_path / "a.b.baseline"
    assert files_folder(tmp_path / "other.json") == tmp_path / "other.json.files"
