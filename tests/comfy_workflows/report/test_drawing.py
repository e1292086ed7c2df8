"""The drawing of a graph: everything in its place, whatever the graph is."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from comfy_workflows.graph import Graph, parse_workflow
from comfy_workflows.report.drawing import drawing
from comfy_workflows.report.elements import Element
from tests.comfy_workflows.report.two_runs import HOSTILE, graph


def _parsed(nodes: dict[str, Any]) -> Graph:
    return parse_workflow(
        {
            node: {
                "class_type": f"Class{node}",
                "inputs": {f"i{n}": [each, 0] for n, each in enumerate(needs)},
            }
            for node, needs in nodes.items()
        },
        place="x.json",
    )


def _drawn(of: Graph, **changes: Any) -> Element:
    return drawing(of, **{"differing": set(), "replaced": set(), "links": {}} | changes)


def _boxes(svg: Element) -> dict[str, Element]:
    """The box of each node, by the id that its title has."""
    found = {}
    for box in svg.iter("svg"):
        title = box.findtext("title") or ""
        named = re.search(r", node (.*?): ", title)
        if named:
            found[named[1]] = box
    return found


def _place(box: Element) -> tuple[float, float]:
    return float(box.get("x", "")), float(box.get("y", ""))


def test_each_node_is_right_of_what_it_needs_and_covers_no_other() -> None:
    for count in (1, 25, 300):
        of = graph(count)
        boxes = _boxes(_drawn(of))
        assert boxes.keys() == of.nodes.keys()
        for node in of.nodes.values():
            for source in node.links().values():
                assert _place(boxes[source])[0] < _place(boxes[node.id])[0]
        columns: dict[float, list[float]] = {}
        for box in boxes.values():
            x, y = _place(box)
            columns.setdefault(x, []).append(y)
        for column in columns.values():
            column.sort()
            assert all(lower - upper >= 52 for upper, lower in pairwise(column))


def test_the_drawing_is_as_large_as_what_is_in_it() -> None:
    svg = _drawn(graph())
    width, height = float(svg.get("width", "")), float(svg.get("height", ""))
    for box in _boxes(svg).values():
        x, y = _place(box)
        assert 0 <= x <= width - 204
        assert 0 <= y <= height - 52


def test_nodes_and_links_say_what_they_have_to_do_with_a_difference() -> None:
    of = _parsed({"1": [], "2": ["1"], "3": ["1"], "4": ["3"]})
    svg = _drawn(of, differing={"2"}, replaced={"3"}, links={"2": "#output-1"})
    boxes = _boxes(svg)
    assert [boxes[each].get("class") for each in "1234"] == [
        "node part",
        "node differs",
        "node same",
        "node same",
    ]
    assert sorted(path.get("class", "") for path in svg.iter("path")) == ["part", "same", "same"]
    assert "".join(boxes["3"].itertext()).endswith("replaced")
    (link,) = svg.iter("a")
    assert link.get("href") == "#output-1"
    assert link[0] is boxes["2"]


def test_circles_and_links_to_nowhere_are_drawn_too() -> None:
    of = _parsed({"1": ["2"], "2": ["1"], "3": ["3", "gone"], "4": []})
    assert _boxes(_drawn(of)).keys() == {"1", "2", "3", "4"}


def test_long_names_are_cut_and_whole_in_the_title() -> None:
    of = parse_workflow({"1": {"class_type": HOSTILE, "inputs": {}}}, place="x.json")
    (box,) = _boxes(_drawn(of)).values()
    assert HOSTILE.replace("\u202e", "\ufffd") in (box.findtext("title") or "")
    assert (box.findtext("text") or "").endswith("…")
