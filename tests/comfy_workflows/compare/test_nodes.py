"""Two results with `node_hashes`, without an engine."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from comfy_errors import InvalidInputError
from comfy_workflows.compare.nodes import Explanation, explain_difference
from comfy_workflows.graph import parse_workflow
from tests.comfy_workflows.compare.runs import file, result
from tests.graphs import node
from tests.media_files import noise, picture, with_one_step

PICTURE = file(picture(noise()), node="9")
NEAR = file(picture(with_one_step(noise())), node="9")

# A model is loaded, noise is made, both are sampled, and the picture is saved.
GRAPH = parse_workflow(
    {
        "1": node("Loader"),
        "2": node("Noise", seed=1),
        "3": node("Sampler", model=["1", 0], noise=["2", 0]),
        "9": node("Save", images=["3", 0]),
        "20": node("Loader"),
    },
    place="g",
)
CLASSES = {name: one.class_type for name, one in GRAPH.nodes.items()}


def ran(node_id: str, *contents: object, unhashed: str = "", **facts: Any) -> dict[str, Any]:
    """A node that gives `contents`; of a text that begins with `unhashed`, only that counts."""
    outputs = [
        {
            "type": str(content).split(" ")[0],
            "sha256": hashlib.sha256(str(content).encode()).hexdigest(),
            "unhashed": [unhashed] if unhashed else [],
        }
        for content in contents
    ]
    usual = {"node": node_id, "class_type": CLASSES.get(node_id, "Inner"), "display_node": node_id}
    return {**usual, "outputs": outputs, **facts}


LOADER = ran("1", "MODEL", "VAE", unhashed="ModelPatcher")


def explained(
    first: list[dict[str, Any]], second: list[dict[str, Any]], *files: dict[str, Any]
) -> Explanation:
    before, after = files or (PICTURE, NEAR)
    return explain_difference(
        result(before, node_hashes=first), result(after, node_hashes=second), GRAPH
    )


def test_the_first_node_that_differs_is_named_not_those_after_it() -> None:
    first, second = (
        [LOADER, ran("2", f"NOISE {n}"), ran("3", f"LATENT {n}"), ran("9")] for n in range(2)
    )
    found = explained(first, second)
    assert found.sentence == (
        "Node 2 (Noise) is the first whose output differs between two runs of this version."
    )
    assert [one.verdict for one in found.nodes] == [
        "not compared",
        "different",
        "different",
        "equal",
    ]
    # It does not depend on the loader.
    assert found.notes == ()
    assert found.document()["first"]["node"] == "2"


def test_what_the_node_depends_on_and_is_not_compared_is_named() -> None:
    other = ran("20", "MODEL", unhashed="ModelPatcher")
    first, second = ([LOADER, other, ran("2", "NOISE"), ran("3", f"LATENT {n}")] for n in range(2))
    found = explained(first, second)
    assert found.first is not None
    assert found.first.hashes.node == "3"
    assert found.notes == (
        "What node 1 (Loader) gives is not compared: MODEL (ModelPatcher), VAE (ModelPatcher).",
    )


def test_nodes_are_matched_by_id_in_the_order_of_the_first_run() -> None:
    first = [ran("2", "NOISE 1"), ran("20", "MODEL 1"), ran("3", "LATENT 1")]
    second = [ran("20", "MODEL 1"), ran("3", "LATENT 2"), ran("2", "NOISE 2")]
    found = explained(first, second)
    assert [one.hashes.node for one in found.nodes] == ["2", "20", "3"]
    assert found.sentence.startswith("Node 2 (Noise) is the first")
    assert explained(second, first).sentence.startswith("Node 3 (Sampler) is the first")


def test_an_output_among_several_is_named() -> None:
    first, second = ([ran("3", "LATENT", f"MASK {n}", f"IMAGE {n}")] for n in range(2))
    assert "Node 3 (Sampler) is the first whose output 2 (MASK), 3 (IMAGE) differ" in (
        explained(first, second).sentence
    )
    found = explained([ran("3", "LATENT")], [ran("3", "LATENT", "MASK")])
    assert "Node 3 (Sampler) is the first whose output differs" in found.sentence


def test_a_node_that_another_one_added_is_named_with_it() -> None:
    first, second = (
        [ran("3.0.1", f"LATENT {n}", display_node="3"), ran("3", f"LATENT {n}")] for n in range(2)
    )
    assert explained(first, second).sentence.startswith(
        "Node 3.0.1 (Inner, added by node 3) is the first whose output differs"
    )


def test_nodes_of_one_run_alone_are_named() -> None:
    inner = ran("3.0.1", "LATENT", display_node="3")
    found = explained([inner, ran("3", "LATENT 1")], [ran("3", "LATENT 2"), ran("20", "MODEL")])
    assert [one.verdict for one in found.nodes] == ["only once", "different", "only once"]
    assert found.sentence.startswith("Node 3 (Sampler) is the first")
    assert found.notes == (
        "Ran in one of the two runs only: node 3.0.1 (Inner, added by node 3), node 20 (Loader).",
    )


def test_a_file_that_differs_alone_is_of_its_node() -> None:
    nodes = [LOADER, ran("2", "NOISE"), ran("9")]
    found = explained(nodes, nodes)
    assert "but image 1 of node 9 differs: the node writes it differently each time" in (
        found.sentence
    )
    assert len(found.notes) == 1


def test_two_equal_runs_leave_what_has_changed_since() -> None:
    nodes = [LOADER, ran("2", "NOISE")]
    found = explained(nodes, nodes, PICTURE, PICTURE)
    assert found.sentence.startswith("Two runs of this version are equal")
    assert (found.first, found.notes) == (None, ())


@pytest.mark.parametrize("hashed", [{}, {"node_hashes": []}])
def test_a_core_that_cannot_be_observed_is_said(hashed: dict[str, Any]) -> None:
    said = "The outputs of nodes could not be hashed: it is too old."
    one = result(PICTURE, warnings=[said], **hashed)
    found = explain_difference(one, result(NEAR, **hashed), GRAPH)
    assert found.sentence == "No node can be named: it is too old."
    assert found.notes == ("The outputs of two runs of this version differ.",)
    found = explain_difference(result(PICTURE), result(PICTURE), GRAPH)
    assert found.sentence == "No node can be named: the runs report no outputs of nodes."
    assert found.notes == ("The outputs of two runs of this version are equal.",)


@pytest.mark.parametrize("hashes", [3, [3], [{"node": "1"}], {"node": "1"}])
def test_hashes_of_another_shape_are_a_sentence(hashes: object) -> None:
    with pytest.raises(InvalidInputError, match="has node_hashes that cannot be used") as it:
        explain_difference(result(PICTURE, node_hashes=hashes), result(NEAR), GRAPH)
    assert "\n" not in it.value.message


def test_only_the_first_of_many_that_are_not_compared_are_named() -> None:
    many = [ran(f"2.{n}", "MODEL", unhashed="Model", display_node="2") for n in range(8)]
    found = explained([*many, ran("2", "NOISE 1")], [*many, ran("2", "NOISE 2")])
    assert len(found.notes) == 6
    assert found.notes[-1] == "Nor is what 3 more nodes give."
