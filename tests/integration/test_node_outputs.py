"""Which node differs first between two runs, on real ComfyUI of two series."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from comfy_workflows.compare.nodes import Explanation, explain_difference
from comfy_workflows.graph import Graph, parse_workflow
from rp_handler.engine.prompt import Listener
from rp_handler.home.realized import open_home
from rp_handler.job.run import run_workflow
from rp_handler.outputs.inline import Base64Sink
from tests.graphs import node, write_graph
from tests.program import ROOT, Program
from tests.real_packages import held

# The first is made random, the second adds a node to the graph, the third is awaited and gives what
# cannot be compared.
_NODES = """
import asyncio

import torch
from comfy_execution.graph_utils import GraphBuilder


class Noise:
    RETURN_TYPES = ("IMAGE", "MASK")
    FUNCTION = "run"
    CATEGORY = "testing"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    @classmethod
    def IS_CHANGED(cls, **_):
        return float("nan")

    def run(self, image):
        return torch.rand_like(image), image[..., 0]


class InvertByAnother(Noise):
    RETURN_TYPES = ("IMAGE",)

    def run(self, image):
        graph = GraphBuilder()
        inner = graph.node("ImageInvert", image=image)
        return {"result": (inner.out(0),), "expand": graph.finalize()}


class Model:
    def __str__(self):
        return "a model"


class Load(Noise):
    RETURN_TYPES = ("MODEL",)

    async def run(self, image):
        await asyncio.sleep(0.05)
        return (Model(),)


NODE_CLASS_MAPPINGS = {"Noise": Noise, "InvertByAnother": InvertByAnother, "Load": Load}
"""


# ComfyUI of these versions, as PyPI has it.
RELEASES = {
    "0.3.52": (
        "2.21.0",
        "sha256:dcb0a120941e5e881b766fd514ca93da62ffc2d15686e279d2d08bedab670e92",
    ),
    "0.3.75": (
        "2.22.2",
        "sha256:ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47",
    ),
}


def image(color: int) -> dict[str, Any]:
    return node("EmptyImage", width=64, height=64, batch_size=1, color=color)


# 2 is between nodes that give the same in each run; 5 and 6 depend on it.
GRAPH = {
    "9": node("SaveImage", images=["6", 0], filename_prefix="x"),
    "10": node("SaveImage", images=["4", 0], filename_prefix="y"),
    "11": node("PreviewAny", source=["7", 0]),
    "1": image(255),
    "2": node("Noise", image=["1", 0]),
    "3": node("ImageInvert", image=["1", 0]),
    "4": node("InvertByAnother", image=["3", 0]),
    "5": node("ImageInvert", image=["2", 0]),
    "6": node("InvertByAnother", image=["5", 0]),
    "7": node("Load", image=["1", 0]),
}


@pytest.fixture(scope="module", params=RELEASES)
def home(request: pytest.FixtureRequest, program: Program, place: Path) -> Path:
    spec = json.loads((ROOT / "versions/demo.json").read_text())
    added = place / "random-node"
    added.mkdir(exist_ok=True)
    (added / "__init__.py").write_text(_NODES)
    ref, commit = RELEASES[request.param]
    version = f"nodes-{request.param}"
    spec |= {
        "version_id": version,
        "comfy": {**spec["comfy"], "ref": ref, "commit": commit},
        "custom_nodes": [{"name": "random-node", "repo": str(added)}],
        "models": [],
        "options": {**spec["options"], "constraints": held()},
    }
    (place / "versions" / f"{version}.json").write_text(json.dumps(spec))
    target = place / version
    done = program("realize", version, "--target", target)
    assert done.code == 0, done.err
    return target


def ran(home: Path, graph: dict[str, Any], *, hashes_nodes: bool = True) -> dict[str, Any]:
    """The result of a run on an engine of its own."""
    listener = Listener(say=lambda _: None, progress=lambda _: None)
    workflow = Path(write_graph(home / "graph.json", graph))
    opened = open_home(home, version_id=home.name, id_was_asked=False)
    return asyncio.run(
        run_workflow(
            *(opened, workflow, Base64Sink(), listener),
            port=None,
            timeout_s=300,
            search=None,
            hashes_nodes=hashes_nodes,
        )
    )


def explained(*results: dict[str, Any], graph: dict[str, Any]) -> Explanation:
    first, second = results
    parsed: Graph = parse_workflow(graph, place="g")
    return explain_difference(first, second, parsed)


def test_the_node_that_was_made_random_is_the_first_that_differs(home: Path) -> None:
    results = [ran(home, GRAPH) for _ in range(2)]
    assert [result["warnings"] for result in results] == [[], []]
    found = explained(*results, graph=GRAPH)
    assert found.sentence == (
        "Node 2 (Noise) is the first whose output 1 (IMAGE) differs between two runs of this "
        "version."
    )
    verdicts = {one.hashes.node: one.verdict for one in found.nodes}
    inner = {name: verdict for name, verdict in verdicts.items() if name not in GRAPH}
    assert {name: verdicts[name] for name in GRAPH} == {
        "1": "equal",
        "2": "different",
        "3": "equal",
        "4": "equal",
        "5": "different",
        "6": "different",
        "7": "not compared",
        "9": "equal",
        "10": "equal",
        "11": "equal",
    }
    # The nodes that 4 and 6 added.
    assert sorted(inner.values()) == ["different", "equal"]
    order = list(verdicts)
    assert order.index("1") < order.index("2") < order.index("5") < order.index("6")
    assert found.notes == ()


def test_a_version_without_the_random_node_gives_the_same(home: Path) -> None:
    graph = {name: each for name, each in GRAPH.items() if name not in ("2", "5", "6", "9")}
    first, second = (ran(home, graph) for _ in range(2))
    found = explained(first, second, graph=graph)
    assert found.sentence.startswith("Two runs of this version are equal")
    assert "node_hashes" not in ran(home, graph, hashes_nodes=False)
