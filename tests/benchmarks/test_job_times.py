"""Jobs that contestants answer in turn, and the rows that come of their times."""

from __future__ import annotations

from benchmarks.job_graphs import Answer, Graph, new_picture, with_seed
from benchmarks.job_times import OURS, STRAIGHT, rows_of_new, rows_of_repeated


class Engine:
    """Runs the nodes that the latest graph did not have, as ComfyUI's cache does."""

    def __init__(self) -> None:
        self.graphs: list[Graph] = []

    def __call__(self, graph: Graph) -> Answer:
        before = self.graphs[-1] if self.graphs else {}
        self.graphs.append(graph)
        changed = {node for node, what in graph.items() if before.get(node) != what}
        if "4" in changed:
            changed.add("5")
        return Answer(images=["x"], ran=frozenset(changed))


class EngineWithoutCache(Engine):
    def __call__(self, graph: Graph) -> Answer:
        return Answer(images=["x"], ran=frozenset(graph))


def test_a_new_picture_is_another_graph_each_time() -> None:
    assert new_picture() != new_picture()


def test_another_seed_changes_one_node() -> None:
    picture = new_picture()
    one, other = with_seed(picture, 1), with_seed(picture, 2)
    assert [node for node in one if one[node] != other[node]] == ["4"]


def test_new_jobs_are_all_different_and_ours_is_set_beside_straight() -> None:
    ours, straight, theirs = Engine(), Engine(), Engine()
    row, context = rows_of_new({OURS: ours, "theirs": theirs, STRAIGHT: straight})
    assert (row.target, row.wanted) == (9, "≤ +3 ms")
    assert row.met is not None
    assert list(row.samples) == [OURS, STRAIGHT]
    assert context.met is None
    assert list(context.samples) == ["theirs", STRAIGHT]
    graphs = [str(one) for engine in (ours, straight, theirs) for one in engine.graphs]
    assert len(set(graphs)) == len(graphs)


def test_a_node_that_runs_again_is_in_the_table() -> None:
    *_, met = rows_of_repeated({OURS: Engine(), STRAIGHT: Engine()})
    assert (met.measured, met.met) == ("none; 4, 5", True)
    *_, missed = rows_of_repeated({OURS: EngineWithoutCache(), STRAIGHT: Engine()})
    assert (missed.measured, missed.met) == ("1, 2; 1, 3, 4, 5", False)
