"""A graph in ComfyUI's API format: `{id: {class_type, inputs, _meta?}}`.

The UI format, which ComfyUI's page saves, is rejected with a message of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, ClassVar, Literal

from comfy_errors import InvalidInputError
from comfy_errors.names import escaped, in_lines
from comfy_files.files import digest_of
from comfy_files.json_file import read_json

_EXPORT = "In ComfyUI choose Workflow > Export (API) and use the exported file."
# Where documents that are sent to a worker or an engine have their graph.
_ENVELOPES = {
    ("input", "workflow"): "a job for a worker",
    ("workflow",): "the input of a job for a worker",
    ("prompt",): "a request to ComfyUI's /prompt",
}

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
        raise InvalidWorkflowError(f"the workflow {place} {fault}", remedy=_EXPORT)
    _refuse_envelope(document, place)
    faults = list(_faults(document))
    if faults or not isinstance(document, dict):
        raise InvalidWorkflowError(
            f"the workflow {place} is not a graph{as_reasons(faults)}", remedy=_EXPORT
        )
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


def workflow_digest(graph: Graph) -> str:
    """The digest of what a graph computes: without titles, in any order of its keys."""
    nodes = {
        node.id: {"class_type": node.class_type, "inputs": dict(node.inputs)}
        for node in graph.nodes.values()
    }
    return digest_of(json.dumps(nodes, sort_keys=True, separators=(",", ":")).encode())


def _refuse_envelope(document: object, place: str) -> None:
    """Raises InvalidWorkflowError for a document that has a graph inside it."""
    for keys, what in _ENVELOPES.items():
        inner = document
        for key in keys:
            inner = (
                inner.get(key) if isinstance(inner, dict) and "class_type" not in inner else None
            )
        path = ".".join(keys)
        if isinstance(inner, str):
            remedy = f"Pass the file of the workflow '{escaped(inner)}', which it names."
        elif isinstance(inner, dict) and "class_type" not in inner:
            remedy = f"Write its '{path}' into a file of its own: jq .{path} FILE"
        else:
            continue
        raise InvalidWorkflowError(
            f"the workflow {place} is {what}, whose graph is in '{path}'", remedy=remedy
        )


def as_reasons(faults: Sequence[str]) -> str:
    """The end of a sentence that gives one fault, or lists several."""
    if len(faults) == 1:
        return f": {faults[0]}"
    return f", for {len(faults)} reasons:{in_lines(faults)}"


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
            yield f'"{escaped(node_id)}" is {_in_words(node)}, not a node'
            continue
        if not isinstance(node.get("class_type"), str) or not node["class_type"]:
            yield f'"{escaped(node_id)}" has no "class_type"'
        if not isinstance(node.get("inputs"), dict):
            named = f" ({escaped(str(node['class_type']))})" if node.get("class_type") else ""
            yield f'node {escaped(node_id)}{named} has no "inputs"'


def _in_words(value: object) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", type(None): "null"}
    return kinds.get(type(value)) or f"the value {json.dumps(value)}"
