"""Which files belong to the names that an engine reports; the engine here is only what it says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from comfy_workflows.graph import Graph, parse_workflow
from rp_handler.engine.client import Execution
from rp_handler.engine.command import EngineFolders
from rp_handler.engine.kept_outputs import KeptOutputs, node_keys
from rp_handler.engine.prompt import Timings
from tests.graphs import node


class Runs:
    """Runs of graphs on one engine: what it reports, and the files that it has written."""

    def __init__(self, scratch: Path) -> None:
        self.folders = EngineFolders(
            input=scratch / "input",
            output=scratch / "output",
            user=scratch / "user",
            temp=scratch / "temp",
        )
        for folder in (self.folders.output, self.folders.temp):
            folder.mkdir(parents=True)
        self.kept = KeptOutputs(self.folders)

    def __call__(
        self,
        graph: Graph,
        outputs: Mapping[str, Any],
        *,
        cached: str = "",
        ran: str = "",
        owners: Mapping[str, str] | None = None,
        **files: str,
    ) -> dict[str, list[str]] | None:
        """The contents of the files of each node, or None if the graph has to run again.

        `files` are the names, without suffix, and contents of those that this run wrote.
        """
        keys = self.kept.keys_of(graph)
        for name, content in files.items():
            (self.folders.output / f"{name}.txt").write_text(content)
        found = self.kept.claim(
            graph,
            keys,
            Execution(
                outputs=outputs,
                cached=frozenset(cached.split()),
                ran=frozenset(ran.split()),
                owners=owners or {},
                timings=Timings(),
                warnings=(),
                error=None,
            ),
        )
        assert not any(self.folders.output.iterdir())
        if found is None:
            return None
        return {name: [it.read_text() for it in one.files()] for name, one in found.items()}


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "scratch")


def graph(**nodes: str) -> Graph:
    made = {name[1:]: node("Save", text=text) for name, text in nodes.items()}
    return parse_workflow(made, place="g")


def file(name: str) -> dict[str, Any]:
    return {"files": [{"filename": f"{name}.txt", "subfolder": "", "type": "output"}]}


def test_a_name_means_the_file_of_the_node_that_has_it(runs: Runs) -> None:
    assert runs(graph(n1="a"), {"1": file("x")}, ran="1", x="of a") == {"1": ["of a"]}
    both = {"1": file("x"), "2": file("x")}
    made = runs(graph(n1="a", n2="b"), both, cached="1", ran="2", x="of b")
    assert made == {"1": ["of a"], "2": ["of b"]}
    # Under other ids they are the nodes that they were.
    assert runs(graph(n2="a", n1="b"), both, cached="1 2") == {"2": ["of a"], "1": ["of b"]}


def test_a_cached_file_that_nobody_knows_makes_the_graph_run_again(runs: Runs) -> None:
    assert runs(graph(n1="a"), {"1": file("x")}, cached="1") is None
    assert runs(graph(n1="a"), {"1": {"text": ["said"]}}, cached="1") == {"1": []}


def test_a_cached_node_that_shows_something_else_than_it_did_is_not_trusted(runs: Runs) -> None:
    runs(graph(n1="a"), {"1": file("x")}, ran="1", x="of a")
    assert runs(graph(n1="a"), {"1": file("y")}, cached="1") is None


def test_equal_nodes_that_wrote_different_files_are_not_told_apart(runs: Runs) -> None:
    for content, trusted in (("one", True), ("one", True), ("two", False)):
        runs(graph(n1="a"), {"1": file("x")}, ran="1", x=content)
        answer = runs(graph(n1="a"), {"1": file("x")}, cached="1")
        assert answer == ({"1": [content]} if trusted else None)
    # After the engine has forgotten its results, there is only one again.
    runs.kept.forget()
    runs(graph(n1="a"), {"1": file("x")}, ran="1", x="two")
    assert runs(graph(n1="a"), {"1": file("x")}, cached="1") == {"1": ["two"]}


def test_a_node_that_shows_nothing_this_time_is_not_given_its_earlier_files(runs: Runs) -> None:
    runs(graph(n1="a"), {"1": file("x")}, ran="1", x="of a")
    runs(graph(n1="a"), {}, ran="1")
    assert runs(graph(n1="a"), {}, cached="1") is None


def test_outputs_that_the_engine_leaves_out_for_cached_nodes_are_delivered(runs: Runs) -> None:
    """Nodes in the middle of a graph, and those that a node has added to it."""
    outputs = {"1": {"text": ["said"]}, "1.0.5": file("x")}
    first = runs(graph(n1="a"), outputs, ran="1 1.0.5", owners={"1.0.5": "1"}, x="of 5")
    assert first == {"1": [], "1.0.5": ["of 5"]}
    assert runs(graph(n1="a"), {}, cached="1") == first


def test_an_added_node_that_did_not_run_makes_the_graph_run_again(runs: Runs) -> None:
    outputs = {"1.0.5": file("x")}
    assert runs(graph(n1="a"), outputs, ran="1", owners={"1.0.5": "1"}) is None


def test_only_so_many_runs_are_kept_and_those_in_use_the_longest(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rp_handler.engine.kept_outputs._RUNS", 2)
    for text in "abc":
        runs(graph(n1=text), {"1": file("x")}, ran="1", x=f"of {text}")
        if text != "a":
            assert runs(graph(n1="a"), {"1": file("x")}, cached="1") == {"1": ["of a"]}
    assert runs(graph(n1="b"), {"1": file("x")}, cached="1") is None
    (kept,) = runs.folders.temp.parent.glob("kept-*")
    assert len(list(kept.iterdir())) <= 3
    # It is written again as it was, and so it is trusted.
    runs(graph(n1="b"), {"1": file("x")}, ran="1", x="of b")
    assert runs(graph(n1="b"), {"1": file("x")}, cached="1") == {"1": ["of b"]}


def test_a_thousand_runs_take_no_more_room_than_a_hundred(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rp_handler.engine.kept_outputs._KNOWN", 50)
    files = []
    for number in range(1000):
        runs(graph(n1=str(number)), {"1": file("x")}, ran="1", x="content")
        if number in (100, 999):
            files.append(len(list(runs.folders.temp.parent.glob("kept-*/**/*"))))
    assert files[0] > 0
    assert files[0] == files[1]
    assert len(runs.kept._known) <= 51


def test_large_runs_are_dropped_first_come_first(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rp_handler.engine.kept_outputs._BYTES", 10)
    runs(graph(n1="a"), {"1": file("x")}, ran="1", x="12345678")
    runs(graph(n1="b"), {"1": file("x")}, ran="1", x="12345678")
    assert runs(graph(n1="b"), {"1": file("x")}, cached="1") == {"1": ["12345678"]}
    assert runs(graph(n1="a"), {"1": file("x")}, cached="1") is None


def test_the_key_of_a_node_changes_with_what_it_depends_on() -> None:
    def keys(text: str, **more: Any) -> dict[str, str]:
        made = {
            "1": node("Text", text=text),
            "2": node("Save", text=["1", 0]),
            "3": node("Save", text="fixed", **more),
        }
        return node_keys(parse_workflow(made, place="g"))

    first = keys("a")
    assert keys("a") == first
    assert {name for name in first if keys("b")[name] != first[name]} == {"1", "2"}
    assert {name for name in first if keys("a", x=1)[name] != first[name]} == {"3"}
    cycle = {"1": node("Save", text=["2", 0]), "2": node("Save", text=["1", 0])}
    assert node_keys(parse_workflow(cycle, place="g")) == {}
