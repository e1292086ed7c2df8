"""What an engine reports of the outputs of nodes, in a real Python with the hook."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from comfy_workflows.graph import Graph, parse_workflow
from rp_handler.engine.command import EngineSetup
from rp_handler.engine.imports import hook_variables
from rp_handler.engine.node_report import NodeOutputReport, read_node_outputs
from rp_handler.engine.process import Engine
from rp_handler.engine.prompt import Listener
from rp_handler.engine.supervisor import ResidentEngine, Run
from rp_handler.home.realized import Home, open_home
from tests.graphs import node, saving

# As in ComfyUI 0.3.52 (the cache has a list for each output), and later (an entry has them).
_CORE = """
import asyncio
from types import SimpleNamespace

class NodeA:
    RETURN_TYPES = ("LATENT", ["a", "b"])

nodes = SimpleNamespace(NODE_CLASS_MAPPINGS={"A": NodeA})

class Cache(dict):
    def set(self, node_id, value):
        self[node_id] = value

class Graph:
    def get_node(self, node_id):
        return {"class_type": "A"}
    def get_display_node_id(self, node_id):
        return node_id.split(".")[0]

def as_entry(outputs):
    return SimpleNamespace(ui=None, outputs=outputs)
"""
_ASYNC = """
async def execute(server, dynprompt, caches, current_item, values, executed, prompt_id):
    caches.outputs.set(current_item, as_entry(values))
    return "done"
"""
_PLAIN = """
def execute(server, dynprompt, caches, current_item, values, executed, prompt_id):
    caches.outputs.set(current_item, values)
    return "done"
"""
_RUN = """
import asyncio, inspect, execution
from types import SimpleNamespace
caches = SimpleNamespace(outputs=execution.Cache())
def run(node_id, *outputs, prompt="p"):
    done = execution.execute(None, execution.Graph(), caches, node_id, list(outputs), set(), prompt)
    assert (asyncio.run(done) if inspect.isawaitable(done) else done) == "done"
"""


class Core:
    """A Python with the hook, whose working directory is a core."""

    def __init__(self, folder: Path, execute: str) -> None:
        self.folder = folder / "core"
        self.folder.mkdir()
        (self.folder / "execution.py").write_text(_CORE + execute)
        self.report = folder / "nodes.jsonl"
        self.report.touch()
        self.imports = folder / "imports.jsonl"
        self.imports.touch()

    def run(self, code: str, *, prompt: str = "p", asked: bool = True) -> NodeOutputReport:
        # Our own packages: NumPy and Pillow.
        packages = os.pathsep.join(filter(None, sys.path))
        variables = hook_variables(
            {"PYTHONPATH": packages},
            core=self.folder,
            report=self.imports,
            node_outputs=self.report if asked else None,
        )
        subprocess.run(
            [sys.executable, "-c", _RUN + code],
            env={"PATH": os.defpath, **variables},
            cwd=self.folder,
            check=True,
        )
        return read_node_outputs(self.report, prompt)


@pytest.fixture(params=[_ASYNC, _PLAIN], ids=["async", "plain"])
def core(request: pytest.FixtureRequest, tmp_path: Path) -> Core:
    return Core(tmp_path, request.param)


def hashes(report: NodeOutputReport) -> list[str]:
    """Of the first output of each node."""
    assert report.fault is None
    return [node.outputs[0].sha256 for node in report.nodes]


def test_nodes_come_in_the_order_in_which_they_ran(core: Core) -> None:
    report = core.run(
        "run('7', [1], ['x'])\nrun('2.0.1', [2])\nrun('5')\nrun('8', [1], prompt='another')"
    )
    assert report.fault is None
    assert [(one.node, one.class_type, one.display_node) for one in report.nodes] == [
        ("7", "A", "7"),
        ("2.0.1", "A", "2"),
        ("5", "A", "5"),
    ]
    assert [one.type for one in report.nodes[0].outputs] == ["LATENT", "COMBO"]
    assert report.nodes[2].outputs == []


def test_the_core_keeps_the_kind_of_its_function(core: Core) -> None:
    is_async = "async def" in (core.folder / "execution.py").read_text()
    core.run(f"assert inspect.iscoroutinefunction(execution.execute) is {is_async}")


def test_nothing_is_observed_unless_it_is_asked_for(core: Core) -> None:
    code = "run('7', [1])\nassert not hasattr(execution.execute, '__wrapped__')"
    report = core.run(code, asked=False)
    assert core.report.read_text() == ""
    assert report.nodes == []


_DIFFERENT = """
import enum, numpy
from PIL import Image
class Kind(enum.Enum):
    ONE = 1
    TWO = 2
grey = Image.new("L", (2, 2))
values = [
    None, True, False, 1, 2, 1.5, 0.0, -0.0, float("nan"), 1j, "1", "", b"1", b"", 10 ** 5000,
    [], [[]], ["a", "b"], ["b", "a"], ["ab"], {}, {"a": 1}, {"a": 2}, {"b": 1}, {"a": 1, "b": 2},
    set(), {1}, {1, 2}, Kind.ONE, Kind.TWO, "\\ud800",
    numpy.zeros((2, 3), "f4"), numpy.zeros((3, 2), "f4"), numpy.zeros((2, 3), "i4"),
    numpy.ones((2, 3), "f4"), numpy.zeros(0), numpy.float32(1),
    numpy.array(["a", None], object), numpy.array(["b", None], object),
    grey, grey.convert("RGB"), Image.new("L", (2, 2), 1), Image.new("L", (4, 1)),
    object(), len,
]
"""


def test_every_difference_of_a_value_counts(tmp_path: Path) -> None:
    code = f"{_DIFFERENT}\nfor value in values: run('1', [value])"
    first = Core(tmp_path, _ASYNC).run(code)
    found = hashes(first)
    assert len(found) > 40
    assert len(set(found)) == len(found)
    unhashed = [one.outputs[0].unhashed for one in first.nodes]
    assert unhashed[-2:] == [["object"], ["builtin_function_or_method"]]
    assert unhashed[:-2] == [[] for _ in found[:-2]]
    # In another process, with other addresses and another order of sets.
    (tmp_path / "again").mkdir()
    assert hashes(Core(tmp_path / "again", _ASYNC).run(code)) == found


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{'a': 1, 'b': 2}", "{'b': 2, 'a': 1}"),
        ("(1, 2)", "[1, 2]"),
        ("bytearray(b'x')", "b'x'"),
        (
            "__import__('numpy').arange(6).reshape(2, 3).T",
            "__import__('numpy').array([[0, 3], [1, 4], [2, 5]])",
        ),
        ("object()", "object()"),
        ("lambda: 1", "lambda: 2"),
    ],
)
def test_what_has_the_same_content_has_the_same_hash(tmp_path: Path, one: str, other: str) -> None:
    found = hashes(Core(tmp_path, _ASYNC).run(f"run('1', [{one}])\nrun('2', [{other}])"))
    assert found[0] == found[1]


def test_an_object_inside_of_a_value_leaves_the_rest_comparable(tmp_path: Path) -> None:
    report = Core(tmp_path, _ASYNC).run(
        "class ControlNet: pass\n"
        "run('1', [{'a': 1, 'model': ControlNet()}])\n"
        "run('2', [{'a': 2, 'model': ControlNet()}])\n"
        "run('3', [{'a': 1, 'model': ControlNet()}])"
    )
    first, second, third = hashes(report)
    assert first == third != second
    assert report.nodes[0].outputs[0].unhashed == ["ControlNet"]


def test_a_blocked_output_has_a_hash(tmp_path: Path) -> None:
    report = Core(tmp_path, _ASYNC).run(
        "class ExecutionBlocker:\n"
        "    def __init__(self, message): self.message = message\n"
        "for text in (None, 'no', None): run('1', [ExecutionBlocker(text)])"
    )
    first, second, third = hashes(report)
    assert first == third != second
    assert report.nodes[0].outputs[0].unhashed == []


def test_a_nested_tensor_of_the_core_is_its_tensors(tmp_path: Path) -> None:
    report = Core(tmp_path, _ASYNC).run(
        "class NestedTensor:\n"
        "    def __init__(self, *tensors): self.tensors = list(tensors)\n"
        "for number in (1, 2, 1): run('1', [NestedTensor(number, 3)])"
    )
    first, second, third = hashes(report)
    assert first == third != second


@pytest.mark.parametrize(
    "value",
    [
        "(loop := []) or loop.append(loop) or loop",
        "__import__('functools').reduce(lambda inner, _: [inner], range(5000), 1)",
        "type('Odd', (dict,), {'items': lambda self: 1 / 0})(a=1)",
        "type('Odd', (), {'__class__': property(lambda self: 1 / 0)})()",
        "type('x' * 5000, (), {})()",
    ],
)
def test_a_value_that_cannot_be_hashed_is_named_by_its_type(tmp_path: Path, value: str) -> None:
    """And the core runs on."""
    report = Core(tmp_path, _ASYNC).run(f"value = {value}\nrun('1', [value])\nrun('2', [1])")
    assert [one.node for one in report.nodes] == ["1", "2"]
    (name,) = report.nodes[0].outputs[0].unhashed
    assert 0 < len(name) <= 100


@pytest.mark.parametrize(
    ("execute", "fault"),
    [
        ("", "this ComfyUI has no function execution.execute"),
        ("execute = 3", "this ComfyUI has no function execution.execute"),
        (
            "def execute(server, dynprompt, current_item, prompt_id): pass",
            "execution.execute of this ComfyUI has no caches",
        ),
    ],
)
def test_a_core_without_the_place_is_a_fault_and_works(
    tmp_path: Path, execute: str, fault: str
) -> None:
    report = Core(tmp_path, execute).run("")
    assert (report.nodes, report.fault) == ([], fault)


def test_a_core_whose_module_is_never_executed_is_a_fault(tmp_path: Path) -> None:
    core = Core(tmp_path, _ASYNC)
    fault = "the start-up hook found no module execution in this ComfyUI"
    assert read_node_outputs(core.report, "p").fault == fault
    assert read_node_outputs(tmp_path / "nowhere", "p").fault == fault


def test_lines_that_are_not_as_expected_are_skipped(tmp_path: Path) -> None:
    core = Core(tmp_path, _ASYNC)
    core.run("run('1', [1])")
    good = core.report.read_text().splitlines()[-1]
    wrong = json.loads(good) | {"outputs": [{"sha256": "no"}]}
    lines = [
        json.dumps(wrong),
        "{",
        "[]",
        "[" * 100_000,
        '{"prompt": "p"}',
        '{"fault": 3}',
        "\\xff",
    ]
    with core.report.open("a") as stream:
        stream.write("\n".join([*lines, good]) + "\n")
    report = read_node_outputs(core.report, "p")
    assert (report.fault, [one.node for one in report.nodes]) == (None, ["1", "1"])


RANDOM = """
import os

class Random:
    required = {}
    output_node = False

    async def run(self, core, node_id, inputs):
        return None, os.urandom(8).hex()

NODE_CLASS_MAPPINGS = {"Random": Random}
"""


@pytest.fixture
def opened(home: Path) -> Home:
    (home / "ComfyUI/custom_nodes/random.py").write_text(RANDOM)
    return open_home(home, version_id="demo", id_was_asked=False)


def ran(home: Home, graph: Graph, *, hashes_nodes: bool) -> Run:
    async def scenario() -> Run:
        listener = Listener(say=lambda _: None, progress=lambda _: None)
        async with ResidentEngine(home, listener, hashes_nodes=hashes_nodes) as engine:
            return await engine.run(graph)

    return asyncio.run(scenario())


def graph(**nodes: Any) -> Graph:
    return parse_workflow(nodes, place="g")


def test_a_run_has_the_hashes_of_its_nodes_when_asked(opened: Home) -> None:
    of = graph(
        **{
            "1": node("FixtureText", text="a"),
            "2": node("Random"),
            "3": saving(["2", 0], prefix=["1", 0]),
        }
    )
    runs = [ran(opened, of, hashes_nodes=True) for _ in range(2)]
    found = [{one.node: one for one in run.node_hashes or ()} for run in runs]
    assert [list(one) for one in found] == [["2", "1", "3"]] * 2
    assert found[0]["1"] == found[1]["1"]
    assert found[0]["2"] != found[1]["2"]
    assert [run.warnings for run in runs] == [(), ()]
    assert ran(opened, of, hashes_nodes=False).node_hashes is None


def test_an_engine_whose_core_has_another_shape_says_so(
    opened: Home, setup_of: EngineSetup
) -> None:
    execution = opened.comfyui / "execution.py"
    execution.write_text(execution.read_text().replace("caches: CacheSet", "kept: CacheSet"))
    execution.write_text(execution.read_text().replace("caches.outputs", "kept.outputs"))
    run = ran(opened, graph(**{"1": saving("x")}), hashes_nodes=True)
    assert run.node_hashes == []
    fault = "execution.execute of this ComfyUI has no caches"
    assert run.warnings == (f"The outputs of nodes could not be hashed: {fault}.",)

    async def unasked() -> None:
        async with Engine(dataclasses.replace(setup_of)) as engine:
            assert engine.node_outputs("p") is None

    asyncio.run(unasked())
