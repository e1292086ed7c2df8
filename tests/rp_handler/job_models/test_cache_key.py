from __future__ import annotations

from typing import Any

from comfy_workflows.graph import Graph, parse_workflow
from rp_handler.job_models.cache_key import KEY, with_model_digests
from tests.graphs import node

A, B = "aa" * 32, "bb" * 32


def graph(**inputs: Any) -> Graph:
    nodes = {name: node("Any", x=value) for name, value in inputs.items()}
    return parse_workflow(nodes, place="g")


def test_nodes_that_name_a_model_also_within_a_text_get_a_further_input() -> None:
    it = graph(
        loader="faces/Anna.safetensors",
        other_case="faces/anna.safetensors",
        prompt="a photo, embedding:anna, sharp",
        tag="<lora:anna:0.8>",
        folder="faces",
        inside={"model": ["x", "faces/anna.safetensors"]},
        other="bert.safetensors",
        link=["loader", 0],
        number=3,
    )
    keyed = with_model_digests(it, {"loras/faces/anna.safetensors": A})
    found = {one.id for one in keyed.nodes.values() if KEY in one.inputs}
    assert found == {"loader", "other_case", "prompt", "tag", "folder", "inside"}


def test_the_further_input_is_that_of_the_content() -> None:
    def key(digests: dict[str, str]) -> Any:
        return with_model_digests(graph(node="x.sft"), digests).document["node"]["inputs"][KEY]

    assert key({"loras/x.sft": A}) == key({"loras/x.sft": A, "loras/other.sft": B})
    assert key({"loras/x.sft": A}) != key({"loras/x.sft": B})
    assert key({"loras/x.sft": A}) != key({"vae/x.sft": A})


def test_a_job_without_models_keeps_its_graph() -> None:
    it = graph(node="x.sft")
    assert with_model_digests(it, {}) is it
    assert with_model_digests(it, {"loras/y.sft": A}).document == it.document
