"""Checks whether a version can run a graph, before the engine starts, and reports all faults at
once.

It rejects what the engine would reject, as far as that is known without running it. A value is
left to the engine where a custom node may accept more than it declares (see `node_code`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from comfy_workflows.graph import Graph, InvalidWorkflowError, Problem, as_reasons
from comfy_workflows.model_files import ModelFolders
from comfy_workflows.node_code import NodeCode
from comfy_workflows.node_inputs import (
    Known,
    ObjectInfo,
    problem_of,
    problems_of_node,
    the_nearest,
)


class MissingNodesError(InvalidWorkflowError):
    """A graph that uses node classes this version does not have."""

    error_type = "missing_nodes"


class MissingModelsError(InvalidWorkflowError):
    """A graph whose only fault is missing model files."""

    exit_code = 3
    error_type = "missing_models"


def preflight(
    graph: Graph,
    *,
    object_info: ObjectInfo,
    models: ModelFolders,
    input_folder: Path,
    custom_nodes: Path,
    place: str,
    knows_all_classes: bool = True,
    also_not_in: str = "",
) -> None:
    """Raises MissingNodesError, InvalidWorkflowError or MissingModelsError if `graph` cannot run.

    `object_info` is the engine's answer to `/object_info`, recorded when the version was checked;
    `models` is looked up on disk now, and so is the code in `custom_nodes`. `place` names the graph
    in error messages. If the engine may have other classes (not `knows_all_classes`), only nodes of
    the recorded ones are judged. `also_not_in` ends the sentence about a file that is not in the
    input folder.
    """
    known = Known(
        object_info=object_info,
        models=models,
        input_folder=input_folder,
        also_not_in=also_not_in,
        code=NodeCode(custom_nodes=custom_nodes),
    )
    problems = tuple(
        problem
        for problem in _problems(graph, known)
        if knows_all_classes or problem.kind != "missing_node"
    )
    kinds = {problem.kind for problem in problems}
    kind: type[InvalidWorkflowError] = InvalidWorkflowError
    if "missing_node" in kinds:
        kind = MissingNodesError
        remedy = (
            "Add the custom node with that class to the version's spec, or correct the workflow."
        )
    elif "invalid_input" in kinds:
        remedy = "Correct the workflow."
    elif "missing_model" in kinds:
        kind = MissingModelsError
        remedy = (
            "Add the model to the version's spec and realize it again, "
            f"or put the file below {models.roots[0]}."
        )
    else:
        return
    reasons = as_reasons([problem.sentence for problem in problems])
    raise kind(f"The workflow {place} cannot run{reasons}", remedy=remedy, problems=problems)


def output_nodes(graph: Graph, object_info: ObjectInfo) -> list[str]:
    """The ids of the nodes that are outputs, such as SaveImage: the engine runs what they need."""
    return [
        node.id
        for node in graph.nodes.values()
        if object_info.get(node.class_type, {}).get("output_node")
    ]


def _problems(graph: Graph, known: Known) -> Iterator[Problem]:
    """Every problem of `graph`, in the order of its nodes."""
    object_info = known.object_info
    unknown = [node for node in graph.nodes.values() if node.class_type not in object_info]
    for node in unknown:
        nearest = the_nearest(node.class_type, list(object_info))
        fault = f'node {node.id}: this version has no node class "{node.class_type}"{nearest}'
        yield problem_of(node, fault, kind="missing_node")
    outputs = output_nodes(graph, object_info)
    if not outputs and not unknown:
        first = next(iter(graph.nodes.values()))
        yield problem_of(
            first, "no node of the graph is an output, such as SaveImage or PreviewImage"
        )
    circle = graph.circle()
    if circle:
        way = " → ".join(circle)
        yield problem_of(graph.nodes[circle[0]], f"the nodes {way} form a cycle")
    # The engine looks only at nodes that outputs depend on: a fault in any other node does not
    # matter.
    needed = graph.with_ancestors(outputs)
    for node in graph.nodes.values():
        if node.id in needed and node.class_type in object_info:
            yield from problems_of_node(node, graph, known)
