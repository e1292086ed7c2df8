"""What changed about the nodes of a workflow, by `/object_info` of two versions."""

from __future__ import annotations

from typing import Any

import pytest

from comfy_workflows.graph import parse_workflow
from comfy_workflows.report.replaced import replaced_nodes

GRAPH = parse_workflow(
    {"1": {"class_type": "Blur", "inputs": {}}, "2": {"class_type": "Save", "inputs": {}}},
    place="x.json",
)
SAVE: dict[str, Any] = {"python_module": "nodes", "input": {}, "output": []}
BLUR: dict[str, Any] = {
    "python_module": "custom_nodes.blurs",
    "display_name": "Blur",
    "input": {
        "required": {
            "radius": ["INT", {"default": 1, "min": 0, "max": 31, "tooltip": "in pixels"}],
            "kind": [["gauss", "box"]],
            "image": [["a.png"], {"image_upload": True}],
        }
    },
    "output": ["IMAGE"],
    "output_is_list": [False],
}


def _input(**changed: Any) -> dict[str, Any]:
    return {"input": {"required": {**BLUR["input"]["required"], **changed}}}


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        (
            {"python_module": "comfy_extras.nodes_blur"},
            "It came from the custom node blurs, and comes from the core "
            "(comfy_extras.nodes_blur).",
        ),
        (
            {"deprecated": False, "experimental": True, "display_name": None},
            "Its code was rewritten from node interface V1 to V3; it is now experimental.",
        ),
        (
            _input(radius=["INT", {"default": 2, "min": 0, "max": 9}]),
            "Input radius: default was 1, and is 2; input radius: max was 31, and is 9.",
        ),
        (
            _input(radius=["FLOAT", {"default": 1.0}]),
            'Input radius: its type was "INT", and is "FLOAT".',
        ),
        (
            _input(kind=["COMBO", {"options": ["gauss", "lens"]}], edge=["STRING"]),
            'Inputs new: edge; input kind: no longer "box"; input kind: also "lens".',
        ),
        (
            {"output": ["IMAGE", ["a", "b"]], "output_is_list": [True, False]},
            "Its outputs were IMAGE, and are list of IMAGE, COMBO.",
        ),
        (
            {"deprecated": True, "display_name": "Old blur"},
            'It is now deprecated; its name was "Blur", and is "Old blur".',
        ),
    ],
)
def test_a_class_that_differs_is_a_sentence(changed: dict[str, Any], sentence: str) -> None:
    (found,) = replaced_nodes(
        GRAPH, {"Blur": BLUR, "Save": SAVE}, {"Blur": BLUR | changed, "Save": SAVE}
    )
    assert (found.node, found.class_type, found.sentence) == ("1", "Blur", sentence)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"description": "Blurs.", "output_tooltips": [None]},
        _input(
            radius=["INT", {"default": 1, "min": 0, "max": 31, "display": "slider"}],
            kind=["COMBO", {"options": ["gauss", "box"], "multiselect": False}],
            image=["COMBO", {"options": ["b.png"], "image_upload": True}],
        ),
    ],
)
def test_what_only_the_editor_shows_does_not_count(changed: dict[str, Any]) -> None:
    assert replaced_nodes(GRAPH, {"Blur": BLUR}, {"Blur": BLUR | changed}) == []


def test_a_class_that_one_version_lacks_is_left_out() -> None:
    assert replaced_nodes(GRAPH, {"Blur": BLUR}, {"Save": SAVE}) == []


@pytest.mark.parametrize("odd", [None, 1, "x", [], [None], {"required": {"radius": None}}])
def test_what_a_node_says_about_itself_may_be_anything(odd: Any) -> None:
    found = replaced_nodes(
        GRAPH, {"Blur": BLUR}, {"Blur": {**BLUR, "output": odd, "output_is_list": odd}}
    )
    assert len(found) == 1
    replaced_nodes(GRAPH, {"Blur": {"input": {"required": {"radius": odd}}}}, {"Blur": BLUR})
    for broken in ({"input": odd}, {"input": {"required": odd}}):
        replaced_nodes(GRAPH, {"Blur": broken}, {"Blur": BLUR})
