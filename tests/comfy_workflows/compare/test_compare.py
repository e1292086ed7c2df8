from __future__ import annotations

import json
from typing import Any

import pytest

from comfy_workflows.compare.compare import Comparison, compare
from comfy_workflows.compare.tolerance import parse_tolerance
from tests.comfy_workflows.compare.runs import LOCK, file, run
from tests.media_files import noise, picture, video, with_one_step

PICTURE = picture(noise())
NEAR = picture(with_one_step(noise()))


def verdicts(comparison: Comparison) -> list[str]:
    return [finding.verdict for finding in comparison.findings]


def test_equal_files_are_equal_whatever_their_names() -> None:
    found = compare(run(file(PICTURE)), run(file(PICTURE, "preview_abc.png")))
    assert (verdicts(found), found.holds) == (["equal"], True)
    assert found.summary() == "1 output: 1 equal"


def test_the_order_that_nodes_finish_in_does_not_matter() -> None:
    one, other = file(PICTURE, node="1"), file(NEAR, node="2")
    assert compare(run(one, other), run(other, one)).holds


def test_changed_metadata_is_the_same_content_in_another_file() -> None:
    found = compare(run(file(PICTURE)), run(file(picture(noise(), said="another prompt"))))
    assert (verdicts(found), found.holds) == (["same content"], True)
    assert "only its file differs" in found.findings[0].sentence


def test_one_changed_pixel_is_found_with_its_numbers() -> None:
    found = compare(run(file(PICTURE)), run(file(NEAR)))
    assert (verdicts(found), found.holds) == (["different"], False)
    numbers = found.findings[0].numbers
    assert numbers is not None
    assert (numbers["max_difference"], numbers["hash_distance"]) == (1, 0)
    assert found.findings[0].in_words().startswith("Image 1 of node 6: different: max 1 of 255, ")


@pytest.mark.parametrize(
    ("bounds", "verdict"), [("max=1", "within tolerance"), ("max=0", "different")]
)
def test_a_tolerance_accepts_a_bounded_difference(bounds: str, verdict: str) -> None:
    found = compare(run(file(PICTURE)), run(file(NEAR)), tolerance=parse_tolerance(bounds))
    assert (verdicts(found), found.holds) == ([verdict], verdict != "different")
    assert "max 1 of 255" in found.findings[0].sentence
    assert found.document()["tolerance"] == bounds


def test_a_tolerance_does_not_accept_another_size() -> None:
    found = compare(
        run(file(PICTURE)), run(file(picture(noise(12)))), tolerance=parse_tolerance("max=255")
    )
    assert not found.holds
    assert found.findings[0].sentence == "it is 32×12, and was 32×24"


def test_new_and_missing_outputs_do_not_hold() -> None:
    found = compare(run(file(PICTURE, node="1")), run(file(PICTURE, node="2")))
    assert (verdicts(found), found.holds) == (["new", "missing"], False)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"text": "hello"}, {"text": "bye"}),
        ({"file": b"{}"}, {"file": b"[]"}),
    ],
)
def test_changed_texts_and_other_files_differ_by_their_hashes(before: Any, after: Any) -> None:
    def made(what: dict[str, Any]) -> Any:
        files = [file(what["file"], "x.json")] if "file" in what else []
        return run(*files, text=what.get("text", ""))

    found = compare(made(before), made(after), tolerance=parse_tolerance("max=255"))
    assert verdicts(found) == ["different"]
    assert "its bytes had sha256" in found.findings[0].sentence


def test_a_picture_that_became_unreadable_differs_and_says_so() -> None:
    found = compare(run(file(PICTURE)), run(file(b"no picture")))
    assert verdicts(found) == ["different"]
    assert "its bytes are compared" in found.findings[0].sentence


def test_a_file_in_a_bucket_is_compared_by_its_hash_alone() -> None:
    there = {"type": "gcs", "uri": "gs://bucket/x.png"}
    assert compare(run(file(PICTURE)), run(file(PICTURE) | there)).holds
    found = compare(run(file(PICTURE)), run(file(NEAR) | there))
    assert "it is in a bucket" in found.findings[0].sentence
    assert not found.holds


def test_videos_are_compared_frame_by_frame() -> None:
    frames = [noise(seed=seed) for seed in range(2)]
    before = run(file(video(frames), "x.mp4"))
    assert verdicts(compare(before, run(file(video(frames, said="x"), "x.mp4")))) == [
        "same content"
    ]
    changed = compare(before, run(file(video([frames[0], frames[0]]), "x.mp4")))
    assert verdicts(changed) == ["different"]
    assert "PSNR" in changed.findings[0].sentence


def test_changed_circumstances_are_part_of_the_answer() -> None:
    version = {"id": "demo", "lock": "sha256:other", "comfyui": "0.3.76"}
    found = compare(run(file(PICTURE)), run(file(PICTURE), version=version))
    assert found.holds
    assert found.changes == (
        f"The lock was {LOCK}, and is sha256:other.",
        "ComfyUI was 0.3.75, and is 0.3.76.",
    )


def test_the_document_is_json() -> None:
    found = compare(run(file(PICTURE)), run(file(NEAR), file(PICTURE)))
    document = json.loads(json.dumps(found.document()))
    assert document["holds"] is False
    assert [output["verdict"] for output in document["outputs"]] == ["different", "new"]
