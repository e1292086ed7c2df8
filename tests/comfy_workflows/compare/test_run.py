from __future__ import annotations

from typing import Any

import pytest

from comfy_errors import InvalidInputError
from comfy_workflows.compare.run import run_of
from comfy_workflows.graph import parse_workflow, workflow_digest
from tests.comfy_workflows.compare.runs import CPU, result


def digest(document: dict[str, Any]) -> str:
    return workflow_digest(parse_workflow(document, place="here"))


def test_titles_and_the_order_of_keys_do_not_change_a_workflow() -> None:
    first = {
        "1": {"class_type": "A", "inputs": {"x": 1, "y": 2}},
        "2": {"class_type": "B", "inputs": {}},
    }
    other: dict[str, Any] = {
        "2": {"class_type": "B", "inputs": {}, "_meta": {"title": "The second"}},
        "1": {"inputs": {"y": 2, "x": 1}, "class_type": "A"},
    }
    assert digest(first) == digest(other)
    other["1"]["inputs"]["x"] = 3
    assert digest(first) != digest(other)


def test_what_a_run_was_made_with_is_read_from_its_result() -> None:
    circumstances = run_of(result()).circumstances
    assert circumstances.comfyui == "0.3.75"
    assert circumstances.device.in_words() == "cpu on linux-x86_64"


def test_what_changed_is_said_one_by_one() -> None:
    before = run_of(result()).circumstances
    now = run_of(result(device={**CPU, "processor": "another CPU"})).circumstances
    assert before.changes(now) == ["The processor was a CPU, and is another CPU."]
    assert before.changes(before) == []
    assert before.device.key == now.device.key


@pytest.mark.parametrize(
    "changes",
    [
        {"device": None},
        {"device": {"name": 1, "type": "cpu", "platform": "x"}},
        {"version": None},
        {"version": {"id": 3}},
        {"images": [{"node": "1"}]},
        {"images": "many"},
    ],
)
def test_another_document_is_a_sentence(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="^the result ") as raised:
        run_of(result(**changes))
    assert "Run" in raised.value.remedy


def test_a_result_of_an_older_image_says_what_to_do() -> None:
    document = result()
    del document["device"]
    with pytest.raises(InvalidInputError, match="does not say what it was made with") as raised:
        run_of(document)
    assert "rebuild the image" in raised.value.remedy
