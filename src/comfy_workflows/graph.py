"""A graph in ComfyUI's API format: `{id: {class_type, inputs, _meta?}}`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Link:
    """An input that takes the output number `slot` of the node `source`."""

    input_name: str
    source: str
    slot: int


@dataclass(frozen=True, kw_only=True)
class GraphNode:
    """A node of a graph. `inputs` are plain values, or `[node id, slot]` for a link."""

    id: str
    class_type: str
    inputs: Mapping[str, Any]

    def links(self) -> Iterator[Link]:
        """The inputs that come from other nodes."""
        for name, value in self.inputs.items():
            if is_link(value):
                yield Link(input_name=name, source=value[0], slot=value[1])


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Nodes by id, in the order of the file.

    `document` is the graph exactly as it was written, which is what the engine is sent.
    """

    nodes: Mapping[str, GraphNode]
    document: Mapping[str, Any]

    @property
    def is_empty(self) -> bool:
        """True for `{}`, the smoke test."""
        return not self.nodes

    def with_ancestors(self, node_ids: Iterable[str]) -> set[str]:
        """`node_ids` and every node that they need, directly or not. Unknown ids are left out."""
        found: set[str] = set()
        waiting = [node_id for node_id in node_ids if node_id in self.nodes]
        while waiting:
            node_id = waiting.pop()
            if node_id in found:
                continue
            found.add(node_id)
            waiting += [
                link.source for link in self.nodes[node_id].links() if link.source in self.nodes
            ]
        return found


def find_circle(graph: Graph) -> list[str]:
    """The ids of nodes that need each other in a circle, the first one again at the end, or []."""
    needs = {node.id: {link.source for link in node.links()} for node in graph.nodes.values()}
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        return circle
    return []


def is_link(value: object) -> bool:
    """True for `[node id, slot]`."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int)
        and not isinstance(value[1], bool)
    )
