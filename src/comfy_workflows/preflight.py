"""Checks whether a version can run a graph, before the engine starts, and reports all faults at
once.

It rejects what the engine would reject, as far as that is known without running it. Choices of
custom nodes are left to the engine unless they are model files: a custom node may accept values
that it does not list, and `object_info` does not say so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from comfy_errors.names import listed, nearest
from comfy_workflows.graph import (
    Graph,
    GraphNode,
    InvalidWorkflowError,
    Problem,
    ProblemKind,
    is_link,
)
from comfy_workflows.model_files import ModelFolders, looks_like_a_model

ObjectInfo = Mapping[str, Mapping[str, Any]]

_LISTED = 8
_UPLOADS = ("image_upload", "audio_upload", "video_upload", "file_upload")
_ANNOTATIONS = ("[output]", "[input]", "[temp]")


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
    place: str,
) -> None:
    """Raises MissingNodesError, InvalidWorkflowError or MissingModelsError if `graph` cannot run.

    `object_info` is the engine's answer to `/object_info`, recorded when the version was checked;
    `models` is looked up on disk now. `place` names the graph in error messages.
    """
    problems = tuple(_problems(graph, object_info, models, input_folder))
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
    reasons = f"cannot run: {problems[0].sentence}."
    if len(problems) > 1:
        lines = "".join(f"\n  {problem.sentence}" for problem in problems)
        reasons = f"cannot run, for {len(problems)} reasons:{lines}"
    raise kind(f"The workflow {place} {reasons}", remedy=remedy, problems=problems)


def _problems(
    graph: Graph, object_info: ObjectInfo, models: ModelFolders, input_folder: Path
) -> Iterator[Problem]:
    """Every problem of `graph`, in the order of its nodes."""
    unknown = [node for node in graph.nodes.values() if node.class_type not in object_info]
    for node in unknown:
        nearest = _nearest(node.class_type, list(object_info))
        fault = f'node {node.id}: this version has no node class "{node.class_type}"{nearest}'
        yield _problem(node, fault, kind="missing_node")
    outputs = [
        node.id
        for node in graph.nodes.values()
        if object_info.get(node.class_type, {}).get("output_node")
    ]
    if not outputs and not unknown:
        first = next(iter(graph.nodes.values()))
        yield _problem(
            first, "no node of the graph is an output, such as SaveImage or PreviewImage"
        )
    circle = graph.circle()
    if circle:
        way = " → ".join(circle)
        yield _problem(graph.nodes[circle[0]], f"the nodes {way} form a cycle")
    # The engine looks only at nodes that outputs depend on: a fault in any other node does not
    # matter.
    needed = graph.with_ancestors(outputs)
    for node in graph.nodes.values():
        if node.id in needed and node.class_type in object_info:
            info = object_info[node.class_type]
            yield from _problems_of_inputs(node, graph, info)
            yield from _problems_of_choices(node, info, models, input_folder)


def declared_inputs(info: Mapping[str, Any], *kinds: str) -> dict[str, Any]:
    """The inputs of a node class with their specifications, of `kinds` (required, optional)."""
    declared = info.get("input") or {}
    return {name: it for kind in kinds for name, it in (declared.get(kind) or {}).items()}


def choices_of(specification: Any) -> list[Any] | None:
    """The choices of a combo input, in the old or the new form; None for any other input."""
    if isinstance(specification, list) and specification:
        options = _settings(specification).get("options")
        if isinstance(specification[0], list):
            return specification[0]
        if specification[0] == "COMBO" and isinstance(options, list):
            return options
    return None


def _problems_of_inputs(
    node: GraphNode, graph: Graph, info: Mapping[str, Any]
) -> Iterator[Problem]:
    """Inputs that are missing or linked to a node that does not exist."""
    for name, specification in declared_inputs(info, "required").items():
        if name not in node.inputs and not _has_a_shifting_shape(specification):
            yield _invalid(node, name, "is required but missing")
    for name, value in node.inputs.items():
        if isinstance(value, list) and len(value) == 2 and not is_link(value):
            yield _invalid(node, name, f'is {json.dumps(value)}; a link looks like ["4", 0]')
    for name, source in node.links().items():
        if source not in graph.nodes:
            yield _invalid(node, name, f"comes from node {source}, which does not exist")


def _problems_of_choices(
    node: GraphNode, info: Mapping[str, Any], models: ModelFolders, input_folder: Path
) -> Iterator[Problem]:
    """Values that an input does not offer: files, models and plain choices."""
    is_custom = str(info.get("python_module", "")).startswith("custom_nodes.")
    for name, specification in declared_inputs(info, "required", "optional").items():
        value, options = node.inputs.get(name), choices_of(specification)
        settings = _settings(specification)
        if options is None or not isinstance(value, str) or value in options:
            continue
        if settings.get("multiselect") or settings.get("remote"):
            continue
        folders = models.inputs.get(node.class_type, {}).get(name, ())
        if any(settings.get(flag) for flag in _UPLOADS):
            if not value.endswith(_ANNOTATIONS) and not (input_folder / value).exists():
                yield _invalid(node, name, f'"{value}" is not in {input_folder}')
        elif folders or looks_like_a_model(value):
            if looks_like_a_model(value) and not models.holds(
                folders or tuple(models.folders), value
            ):
                fault = f'the model file "{value}" is not in {_searched(folders, models)}'
                yield _invalid(node, name, fault, kind="missing_model")
        elif not is_custom and options:
            yield _invalid(node, name, f'"{value}" is not a valid choice{_nearest(value, options)}')


def _invalid(
    node: GraphNode, name: str, fault: str, kind: ProblemKind = "invalid_input"
) -> Problem:
    """The problem of one input."""
    return _problem(node, f"node {node.id} ({node.class_type}), {name}: {fault}", kind)


def _problem(node: GraphNode, sentence: str, kind: ProblemKind = "invalid_input") -> Problem:
    return Problem(kind=kind, node=node.id, class_type=node.class_type, sentence=sentence)


def _searched(folders: Sequence[str], models: ModelFolders) -> str:
    if not folders:
        return f"any model folder below {models.roots[0]}"
    there = models.listing(folders)
    holds = f"holds {listed(there, at_most=_LISTED)}" if there else "is empty"
    place = f"the model folder {' or '.join(folders)} ({models.directories(folders)[0]})"
    return f"{place}, which {holds}"


def _settings(specification: Any) -> Mapping[str, Any]:
    if isinstance(specification, list) and len(specification) > 1:
        return specification[1] if isinstance(specification[1], dict) else {}
    return {}


def _has_a_shifting_shape(specification: Any) -> bool:
    """True for inputs that have other names in a graph (such as `COMFY_AUTOGROW_V3`)."""
    kind = specification[0] if isinstance(specification, list) and specification else None
    return isinstance(kind, str) and kind.startswith("COMFY_")


def _nearest(value: str, known: list[Any]) -> str:
    names = [name for name in known if isinstance(name, str)]
    if meant := nearest(value, names):
        return f'; the nearest is "{meant}"'
    return f"; known are {', '.join(names)}" if len(names) <= _LISTED else ""
