from __future__ import annotations

from typing import Any

import pytest

from comfy_errors import InvalidInputError
from comfy_workflows.graph import parse_workflow
from rp_handler.job.set_inputs import with_inputs_set

DOCUMENT: dict[str, Any] = {
    "6": {"class_type": "Encode", "inputs": {"text": "a dog", "clip": ["4", 1]}},
    "4": {"class_type": "Load", "inputs": {"name": "x"}},
    "9:6": {"class_type": "Encode", "inputs": {"text": ""}},
    "6.text": {"class_type": "Odd", "inputs": {"a.b": 1}},
}
GRAPH = parse_workflow(DOCUMENT, place="g")
CLASSES = {"Load": {"input": {"required": {"name": [[], {}]}, "optional": {"device": ["STRING"]}}}}


@pytest.mark.parametrize(
    ("key", "node", "name"),
    [
        ("6.text", "6", "text"),
        ("6.clip", "6", "clip"),
        ("9:6.text", "9:6", "text"),
        ("6.text.a.b", "6.text", "a.b"),
        ("4.device", "4", "device"),
    ],
)
def test_a_value_goes_to_the_input_that_its_key_names(key: str, node: str, name: str) -> None:
    changed = with_inputs_set(GRAPH, {key: "new"}, CLASSES, place="g")
    expected = {**DOCUMENT[node]["inputs"], name: "new"}
    assert changed.nodes[node].inputs == expected
    assert changed.document[node]["inputs"] == expected
    assert GRAPH.document == DOCUMENT
    others = DOCUMENT.keys() - {node}
    assert all(changed.document[one] == DOCUMENT[one] for one in others)


def test_nothing_to_set_leaves_the_graph_as_it_is() -> None:
    assert with_inputs_set(GRAPH, {}, None, place="g") is GRAPH


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("6.txt", '"6.txt": node 6 (Encode) has no input "txt"; the nearest is "text"'),
        ("4.device", '"4.device": node 4 (Load) has no input "device"; known are name'),
        ("7.text", '"7.text" is not the id of a node, a dot, and an input; known are 6, 4, 9:6,'),
        ("text", "known are 6.text, 9:6.text"),
        (".text", "is not the id of a node"),
        ("", "is not the id of a node"),
    ],
)
def test_a_key_that_names_no_input_is_refused_with_the_nearest(key: str, sentence: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        with_inputs_set(GRAPH, {key: 1}, None, place="g")
    assert sentence in caught.value.message


def test_every_wrong_key_is_named_at_once() -> None:
    with pytest.raises(InvalidInputError, match=r"\"7\.a\" is not.*; \"6\.b\": node 6"):
        with_inputs_set(GRAPH, {"7.a": 1, "6.text": 2, "6.b": 3}, None, place="g")
