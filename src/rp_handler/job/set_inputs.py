"""`set` of a job's input: values for inputs of the graph's nodes, `{"6.text": "a cat"}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_errors import InvalidInputError
from comfy_workflows.graph import Graph, GraphNode, parse_workflow
from comfy_workflows.node_inputs import declared_inputs, the_nearest


def with_inputs_set(
    graph: Graph, values: Mapping[str, Any], classes: Mapping[str, Any] | None, *, place: str
) -> Graph:
    """`graph` with each of `values` in the input that its key names: the node's id, a dot, and the
    input's name.

    An input is one that the node has in the graph, or that its class declares in `classes`, the
    engine's `/object_info`. Raises InvalidInputError, which names every key that is wrong.
    """
    if not values:
        return graph
    document = {
        node_id: {**node, "inputs": dict(node["inputs"])}
        for node_id, node in graph.document.items()
    }
    faults = []
    for key, value in values.items():
        node = _node_of(key, graph)
        if node is None:
            faults.append(
                f'"{key}" is not the id of a node, a dot, and an input{_meant(key, graph)}'
            )
            continue
        name = key.removeprefix(f"{node.id}.")
        known = _inputs_of(node, classes)
        if name in known:
            document[node.id]["inputs"][name] = value
        else:
            faults.append(
                f'"{key}": node {node.id} ({node.class_type}) has no input "{name}"'
                f"{the_nearest(name, known)}"
            )
    if faults:
        raise InvalidInputError(
            f"The job's input cannot be used: in 'set', {'; '.join(faults)}.",
            remedy="Name inputs of the workflow's nodes.",
        )
    return parse_workflow(document, place=place)


def _node_of(key: str, graph: Graph) -> GraphNode | None:
    """The node that `key` begins with. Ids and names of inputs may have dots too: the longest id
    counts.
    """
    at = len(key)
    while (at := key.rfind(".", 0, at)) > 0:
        if key[:at] in graph.nodes:
            return graph.nodes[key[:at]]
    return None


def _meant(key: str, graph: Graph) -> str:
    """The keys that a wrong one may stand for."""
    node_id, dot, _ = key.partition(".")
    if not dot:
        having = [node.id for node in graph.nodes.values() if key in node.inputs]
        return f"; known are {', '.join(f'{one}.{key}' for one in having[:8])}" if having else ""
    return the_nearest(node_id, list(graph.nodes))


def _inputs_of(node: GraphNode, classes: Mapping[str, Any] | None) -> list[str]:
    declared = declared_inputs((classes or {}).get(node.class_type) or {}, "required", "optional")
    return list(dict.fromkeys([*node.inputs, *declared]))
