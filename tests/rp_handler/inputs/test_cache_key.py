from __future__ import annotations

from typing import Any

from comfy_workflows.graph import Graph, parse_workflow
from rp_handler.inputs.cache_key import KEY, with_digests

A, B = "aa" * 32, "bb" * 32


def graph(**inputs: Any) -> Graph:
    nodes = {name: {"class_type": "Any", "inputs": {"x": value}} for name, value in inputs.items()}
    return parse_workflow(nodes, place="of a test")


def keyed(graph: Graph, digests: dict[str, str]) -> set[str]:
    return {node.id for node in with_digests(graph, digests).nodes.values() if KEY in node.inputs}


def test_only_nodes_that_name_a_file_get_a_further_input() -> None:
    it = graph(
        plain="a/b.png",
        annotated="a/b.png [input]",
        folder="a",
        roundabout="./a//b.png",
        inside={"model": ["x", "a/b.png"]},
        other="c.png",
        text="a picture of a/b.png",
        link=["plain", 0],
        number=3,
    )
    assert keyed(it, {"a/b.png": A}) == {"plain", "annotated", "folder", "roundabout", "inside"}


def test_the_further_input_is_that_of_the_content() -> None:
    def key(value: str, digests: dict[str, str]) -> Any:
        return with_digests(graph(node=value), digests).document["node"]["inputs"][KEY]

    assert key("a.png", {"a.png": A}) == key("a.png", {"a.png": A, "b.png": B})
    assert key("a.png", {"a.png": A}) != key("a.png", {"a.png": B})
    assert key("d", {"d/a": A, "d/b": B}) != key("d", {"d/a": B, "d/b": A})


def test_a_job_without_files_keeps_its_graph() -> None:
    it = graph(node="a.png")
    assert with_digests(it, {}) is it
    assert with_digests(it, {"b.png": A}).document == it.document


def test_deeply_nested_values_do_no_harm() -> None:
    value: Any = "a.png"
    for _ in range(5000):
        value = [value]
    assert keyed(graph(node={"x": value}), {"a.png": A}) == {"node"}
