"""From a workflow file to a graph. Only the API format so far; the UI format is named as such."""

from __future__ import annotations

import json
from pathlib import Path

from comfy_errors import UnavailableError
from comfy_workflows.errors import InvalidWorkflowError
from comfy_workflows.graph import Graph, GraphNode

_EXPORT = "In ComfyUI choose Workflow > Export (API) and use the file that it writes."


def load_workflow(path: Path) -> Graph:
    """The graph in the file at `path`; `{}` gives an empty one, the smoke test.

    Raises UnavailableError for a file that is not there and InvalidWorkflowError for anything
    that is not a graph in the API format.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UnavailableError(
            f"There is no workflow at {path}.", remedy="Give the path of a workflow's JSON file."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidWorkflowError(
            f"The workflow {path} cannot be read: {error}.",
            remedy="Give the path of a workflow's JSON file.",
        ) from error
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidWorkflowError(
            f"The workflow {path} is not JSON: {error.msg} "
            f"at line {error.lineno}, column {error.colno}.",
            remedy="Mend that place, or export the workflow again.",
        ) from error
    except RecursionError as error:
        raise InvalidWorkflowError(
            f"The workflow {path} is nested too deeply to be a graph.", remedy=_EXPORT
        ) from error
    return parse_workflow(document, place=str(path))


def parse_workflow(document: object, *, place: str) -> Graph:
    """The graph that `document` (parsed JSON) holds. `place` is how errors name where it came from.

    Raises InvalidWorkflowError.
    """
    if not isinstance(document, dict):
        raise InvalidWorkflowError(
            f"The workflow {place} is not a graph: it holds {_a_json(document)}, not an object "
            "of nodes.",
            remedy=_EXPORT,
        )
    if isinstance(document.get("nodes"), list):
        raise InvalidWorkflowError(
            f"The workflow {place} is in the UI format, which ComfyUI's page saves; "
            "the API format is needed.",
            remedy=_EXPORT,
        )
    nodes = {node_id: _parse_node(node_id, node, place) for node_id, node in document.items()}
    return Graph(nodes=nodes, document=document)


def _parse_node(node_id: str, node: object, place: str) -> GraphNode:
    if not isinstance(node, dict):
        raise InvalidWorkflowError(
            f'The workflow {place} is not a graph: "{node_id}" is {_a_json(node)}, not a node.',
            remedy=_EXPORT,
        )
    class_type = node.get("class_type")
    if not isinstance(class_type, str) or not class_type:
        raise InvalidWorkflowError(
            f'The workflow {place} is not a graph: "{node_id}" has no "class_type".',
            remedy=_EXPORT,
        )
    inputs = node.get("inputs")
    if not isinstance(inputs, dict):
        raise InvalidWorkflowError(
            f'The workflow {place} is not a graph: node {node_id} ({class_type}) has no "inputs".',
            remedy=_EXPORT,
        )
    return GraphNode(id=node_id, class_type=class_type, inputs=inputs)


def _a_json(value: object) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return "a text"
    return "null" if value is None else f"the value {json.dumps(value)}"
