"""The model files that a graph uses, as its inputs name them."""

from __future__ import annotations

from pathlib import Path

from comfy_workflows.graph import Graph
from comfy_workflows.model_files import ModelFolders
from comfy_workflows.node_inputs import ObjectInfo, named_models
from comfy_workflows.preflight import output_nodes


def used_models(graph: Graph, object_info: ObjectInfo, models: ModelFolders) -> list[Path]:
    """The files that inputs of the graph's nodes name, each once, in the order of the nodes.

    Left out are nodes that no output needs, and models that are not there. Reads folders.
    """
    needed = graph.with_ancestors(output_nodes(graph, object_info))
    found = {
        models.find(folders, value): None
        for node in graph.nodes.values()
        if node.id in needed and node.class_type in object_info
        for folders, value in named_models(node, object_info[node.class_type], models)
    }
    return [file for file in found if file is not None]
