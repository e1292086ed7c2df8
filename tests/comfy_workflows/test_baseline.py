from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from comfy_errors import InvalidInputError, UnavailableError
from comfy_workflows.baseline import Baseline, OutputHash, compare, load_baseline, output_hashes

LOCK = "sha256:" + "a" * 64


def result(*images: tuple[str, str], text: str = "hello") -> dict[str, Any]:
    return {
        "images": [
            {"node": node, "filename": f"{number}.png", "sha256": digit * 64}
            for number, (node, digit) in enumerate(images)
        ],
        "files": [],
        "text": [{"node": "9", "text": text}],
    }


def recorded(made: dict[str, Any]) -> Baseline:
    outputs = [
        OutputHash(node=node, kind=kind, number=number, sha256=sha256)
        for (node, kind, number), sha256 in output_hashes(made).items()
    ]
    return Baseline(schema="runpod-comfy/baseline/1", lock=LOCK, outputs=outputs)


def test_a_result_equals_the_baseline_recorded_from_it(tmp_path: Path) -> None:
    path = tmp_path / "w.baseline.json"
    baseline = recorded(result(("1", "a"), ("1", "b")))
    path.write_text(baseline.model_dump_json(by_alias=True), encoding="utf-8")
    assert compare(load_baseline(path), result(("1", "a"), ("1", "b")), lock_digest=LOCK) == []


def test_the_order_that_nodes_finish_in_does_not_matter() -> None:
    one, other = result(("1", "a"), ("2", "b")), result(("2", "b"), ("1", "a"))
    assert compare(recorded(one), other, lock_digest=LOCK) == []


def test_each_difference_is_reported_with_its_node() -> None:
    baseline = recorded(result(("1", "a"), ("2", "b")))
    differences = compare(baseline, result(("1", "c"), ("3", "b")), lock_digest=LOCK)
    assert differences == [
        f"Image 1 of node 1 had sha256 {'a' * 64}, now has {'c' * 64}.",
        "Image 1 of node 2 is missing.",
        "Image 1 of node 3 is new.",
    ]


def test_a_changed_text_is_a_difference() -> None:
    baseline = recorded(result(text="hello"))
    (difference,) = compare(baseline, result(text="bye"), lock_digest=LOCK)
    assert hashlib.sha256(b"bye").hexdigest() in difference


def test_the_names_of_files_do_not_matter() -> None:
    before, after = result(("1", "a")), result(("1", "a"))
    after["images"][0]["filename"] = "ComfyUI_temp_qwert_00001_.png"
    assert compare(recorded(before), after, lock_digest=LOCK) == []


def test_another_lock_is_reported_only_when_something_differs() -> None:
    baseline = recorded(result(("1", "a")))
    assert compare(baseline, result(("1", "a")), lock_digest="sha256:other") == []
    differences = compare(baseline, result(("1", "b")), lock_digest="sha256:other")
    assert LOCK in differences[0]
    assert "sha256:other" in differences[0]


def test_a_missing_baseline_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="no baseline at"):
        load_baseline(tmp_path / "none.json")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"schema": "runpod-comfy/baseline/2", "lock": null, "outputs": []}',
        '{"schema": "runpod-comfy/baseline/1", "lock": null, "outputs": [], "more": 1}',
        '{"schema": "runpod-comfy/baseline/1", "lock": null, '
        '"outputs": [{"node": "1", "kind": "image", "number": 0, "sha256": "short"}]}',
    ],
)
def test_a_baseline_is_read_strictly(tmp_path: Path, text: str) -> None:
    path = tmp_path / "b.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(
        InvalidInputError, match=r"the baseline .*b\.json (is not valid JSON|cannot be used): "
    ):
        load_baseline(path)
