"""A graph in ComfyUI's API format: `{id: {class_type, inputs, _meta?}}`.

The UI format, which ComfyUI's page saves, is rejected with a message of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, ClassVar, Literal

from comfy_errors import InvalidInputError
from comfy_files.json_file import read_json

_EXPORT = "In ComfyUI choose Workflow > Export (API) and use the exported file."

ProblemKind = Literal["missing_node", "missing_model", "invalid_input"]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One reason why a graph cannot run: the node, and a sentence."""

    kind: ProblemKind
    node: str
    class_type: str
    sentence: str


class InvalidWorkflowError(InvalidInputError):
    """A file that is not a graph, or a graph that cannot run because of `problems`.

    `error_type` is its name in failure documents.
    """

    error_type: ClassVar[str] = "invalid_workflow"

    def __init__(
        self, message: str, *, remedy: str = "", problems: tuple[Problem, ...] = ()
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.problems = problems


@dataclass(frozen=True, kw_only=True)
class GraphNode:
    """A node of a graph. `inputs` are plain values, or `[node id, slot]` for a link. `title` is
    the one shown in the editor; empty where the file has none."""

    id: str
    class_type: str
    inputs: Mapping[str, Any]
    title: str = ""

    def links(self) -> dict[str, str]:
        """The inputs that come from other nodes, with the ids of those nodes."""
        return {name: value[0] for name, value in self.inputs.items() if is_link(value)}


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Nodes by id, in the order of the file.

    `document` is the graph exactly as written; it is what the engine receives.
    """

    nodes: Mapping[str, GraphNode]
    document: Mapping[str, Any]

    @property
    def is_empty(self) -> bool:
        """True for `{}`, the smoke test."""
        return not self.nodes

    def with_ancestors(self, node_ids: Iterable[str]) -> set[str]:
        """`node_ids` and every node they depend on, directly or indirectly. Unknown ids are left
        out.
        """
        found: set[str] = set()
        waiting = list(node_ids)
        while waiting:
            node_id = waiting.pop()
            if node_id in self.nodes and node_id not in found:
                found.add(node_id)
                waiting += self.nodes[node_id].links().values()
        return found

    def circle(self) -> list[str]:
        """The ids of the nodes in a dependency cycle, with the first repeated at the end, or []."""
        needs = {node.id: set(node.links().values()) for node in self.nodes.values()}
        try:
            TopologicalSorter(needs).prepare()
        except CycleError as error:
            circle: list[str] = error.args[1]
            return circle
        return []


def is_link(value: object) -> bool:
    """True for `[node id, slot]`."""
    return isinstance(value, list) and [type(each) for each in value] == [str, int]


def load_workflow(path: Path) -> Graph:
    """The graph in the file at `path`; `{}` gives an empty one, the smoke test.

    Raises UnavailableError for a missing file and InvalidWorkflowError for anything that is not a
    graph in the API format.
    """
    remedy = f"Pass the path of a workflow's JSON file. {_EXPORT}"
    document = read_json(path, "workflow", remedy=remedy, refusal=InvalidWorkflowError)
    return parse_workflow(document, place=str(path))


def parse_workflow(document: object, *, place: str) -> Graph:
    """The graph in `document` (parsed JSON). `place` names its origin in error messages.

    Raises InvalidWorkflowError.
    """
    if isinstance(document, dict) and isinstance(document.get("nodes"), list):
        fault = "is in the UI format, which ComfyUI's page saves; the API format is required"
    elif fault := next(_faults(document), ""):
        fault = f"is not a graph: {fault}"
    if fault or not isinstance(document, dict):
        raise InvalidWorkflowError(f"the workflow {place} {fault}", remedy=_EXPORT)
    nodes = {
        node_id: GraphNode(
            id=node_id,
            class_type=node["class_type"],
            inputs=node["inputs"],
            title=_title(node.get("_meta")),
        )
        for node_id, node in document.items()
    }
    return Graph(nodes=nodes, document=document)


def _title(meta: object) -> str:
    title = meta.get("title") if isinstance(meta, dict) else None
    return title if isinstance(title, str) else ""


def _faults(document: object) -> Iterator[str]:
    """The reasons why a document is not a graph."""
    if not isinstance(document, dict):
        yield f"it is {_in_words(document)}, not an object of nodes"
        return
    for node_id, node in document.items():
        if not isinstance(node, dict):
            yield f'"{node_id}" is {_in_words(node)}, not a node'
        elif not isinstance(node.get("class_type"), str) or not node["class_type"]:
            yield f'"{node_id}" has no "class_type"'
        elif not isinstance(node.get("inputs"), dict):
            yield f'node {node_id} ({node["class_type"]}) has no "inputs"'


def _in_words(value: object) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", type(None): "null"}
    return kinds.get(type(value)) or f"the value {json.dumps(value)}"
