"""Can this version run this graph? Answered before the engine is started, all faults at once.

What is checked is what the engine would refuse, as far as it can be known without it. Choices of
custom nodes are left to the engine unless they are model files: a custom node may accept values
that it does not list, and `object_info` does not say so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from comfy_workflows.errors import (
    InvalidWorkflowError,
    MissingModelsError,
    MissingNodesError,
    Problem,
)
from comfy_workflows.graph import Graph, GraphNode, find_circle, is_link
from comfy_workflows.model_files import ModelFolders, looks_like_a_model

ObjectInfo = Mapping[str, Mapping[str, Any]]

_LISTED = 8
_UPLOADS = ("image_upload", "audio_upload", "video_upload", "file_upload")


def preflight(
    graph: Graph,
    *,
    object_info: ObjectInfo,
    models: ModelFolders,
    input_folder: Path,
    place: str,
) -> None:
    """Raises if `graph` cannot run: MissingNodesError, InvalidWorkflowError or MissingModelsError.

    `object_info` is the engine's own answer to `/object_info`, recorded when the version was
    checked; `models` is looked up on disk now. `place` is how errors name the graph.
    """
    problems = tuple(find_problems(graph, object_info, models, input_folder))
    if not problems:
        return
    message = _message(place, problems)
    kinds = {problem.kind for problem in problems}
    if "missing_node" in kinds:
        raise MissingNodesError(
            message,
            remedy="Add the custom node that brings the class to the version's spec, "
            "or mend the class's name.",
            problems=problems,
        )
    if "invalid_input" in kinds:
        raise InvalidWorkflowError(message, remedy="Mend the workflow.", problems=problems)
    raise MissingModelsError(
        message,
        remedy="Add the model to the version's spec and realize it again, "
        f"or put the file below {models.roots[0]}.",
        problems=problems,
    )


def find_problems(
    graph: Graph, object_info: ObjectInfo, models: ModelFolders, input_folder: Path
) -> Iterator[Problem]:
    """Every problem of `graph`, in the order of its nodes."""
    unknown = [node for node in graph.nodes.values() if node.class_type not in object_info]
    for node in unknown:
        yield _unknown_class(node, object_info)
    outputs = [
        node.id
        for node in graph.nodes.values()
        if object_info.get(node.class_type, {}).get("output_node")
    ]
    if not outputs and not unknown:
        first = next(iter(graph.nodes.values()))
        yield Problem(
            kind="invalid_input",
            node=first.id,
            class_type=first.class_type,
            name=first.class_type,
            sentence="no node of the graph is an output, such as SaveImage or PreviewImage",
        )
    circle = find_circle(graph)
    if circle:
        node = graph.nodes[circle[0]]
        yield Problem(
            kind="invalid_input",
            node=node.id,
            class_type=node.class_type,
            name=node.class_type,
            sentence=f"the nodes {' → '.join(circle)} need each other in a circle",
        )
    # The engine looks only at what outputs need: a loose node with a fault does not matter.
    needed = graph.with_ancestors(outputs)
    for node in graph.nodes.values():
        if node.id in needed and node.class_type in object_info:
            yield from _problems_of_node(graph, node, object_info, models, input_folder)


def _problems_of_node(
    graph: Graph,
    node: GraphNode,
    object_info: ObjectInfo,
    models: ModelFolders,
    input_folder: Path,
) -> Iterator[Problem]:
    info = object_info[node.class_type]
    declared: Mapping[str, Any] = info.get("input") or {}
    for name, specification in (declared.get("required") or {}).items():
        if name not in node.inputs and not _has_a_shifting_shape(specification):
            yield _invalid(node, name, "is required but missing")
    for name, value in node.inputs.items():
        if isinstance(value, list) and len(value) == 2 and not is_link(value):
            yield _invalid(node, name, f'is {json.dumps(value)}; a link looks like ["4", 0]')
    for link in node.links():
        if link.source not in graph.nodes:
            yield _invalid(
                node, link.input_name, f"comes from node {link.source}, which does not exist"
            )
    is_custom = str(info.get("python_module", "")).startswith("custom_nodes.")
    for kind in ("required", "optional"):
        for name, specification in (declared.get(kind) or {}).items():
            value = node.inputs.get(name)
            options = _options(specification)
            if options is None or not isinstance(value, str) or value in options:
                continue
            folders = models.of_input(node.class_type, name)
            if _is_upload(specification):
                if not _is_annotated(value) and not (input_folder / value).exists():
                    yield _invalid(node, name, f'"{value}" is not in {input_folder}')
            elif folders or looks_like_a_model(value):
                if looks_like_a_model(value) and not models.holds(
                    folders or tuple(models.folders), value
                ):
                    yield _missing_model(node, name, value, folders, models)
            elif not is_custom and options:
                yield _invalid(node, name, f'"{value}" is not offered{_nearest(value, options)}')


def _unknown_class(node: GraphNode, object_info: ObjectInfo) -> Problem:
    sentence = f'node {node.id}: this version has no node class "{node.class_type}"'
    return Problem(
        kind="missing_node",
        node=node.id,
        class_type=node.class_type,
        name=node.class_type,
        sentence=sentence + _nearest(node.class_type, list(object_info)),
    )


def _missing_model(
    node: GraphNode,
    input_name: str,
    value: str,
    folders: Any,
    models: ModelFolders,
) -> Problem:
    if folders:
        where = " or ".join(folders)
        there = models.listing(folders)
        holds = _some(there) if there else "is empty"
        place = f"the model folder {where} ({models.directories(folders)[0]}), which {holds}"
    else:
        place = f"any model folder below {models.roots[0]}"
    return Problem(
        kind="missing_model",
        node=node.id,
        class_type=node.class_type,
        name=value,
        sentence=f'node {node.id} ({node.class_type}), {input_name}: the model file "{value}" '
        f"is not in {place}",
    )


def _invalid(node: GraphNode, input_name: str, fault: str) -> Problem:
    return Problem(
        kind="invalid_input",
        node=node.id,
        class_type=node.class_type,
        name=input_name,
        sentence=f"node {node.id} ({node.class_type}), {input_name}: {fault}",
    )


def _options(specification: Any) -> list[Any] | None:
    """The choices of a combo input, in either generation's form; None for any other input."""
    if not isinstance(specification, list) or not specification:
        return None
    settings = _settings(specification)
    if settings.get("multiselect") or settings.get("remote"):
        return None
    if isinstance(specification[0], list):
        return specification[0]
    if specification[0] == "COMBO" and isinstance(settings.get("options"), list):
        options: list[Any] = settings["options"]
        return options
    return None


def _settings(specification: Any) -> Mapping[str, Any]:
    if len(specification) > 1 and isinstance(specification[1], dict):
        return specification[1]
    return {}


def _is_upload(specification: Any) -> bool:
    settings = _settings(specification)
    return any(settings.get(flag) for flag in _UPLOADS)


def _is_annotated(value: str) -> bool:
    return value.endswith(("[output]", "[input]", "[temp]"))


def _has_a_shifting_shape(specification: Any) -> bool:
    """True for inputs that appear in a graph under other names (`COMFY_AUTOGROW_V3` and kin)."""
    kind = specification[0] if isinstance(specification, list) and specification else None
    return isinstance(kind, str) and kind.startswith("COMFY_")


def _nearest(value: str, known: list[Any]) -> str:
    names = [name for name in known if isinstance(name, str)]
    close = get_close_matches(value, names, n=1)
    if not close:
        by_lower = {name.lower(): name for name in names}
        close = [by_lower[name] for name in get_close_matches(value.lower(), list(by_lower), n=1)]
    if close:
        return f'; the nearest is "{close[0]}"'
    return f"; known are {', '.join(names)}" if len(names) <= _LISTED else ""


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"holds {', '.join(names[:_LISTED])}{more}"


def _message(place: str, problems: tuple[Problem, ...]) -> str:
    if len(problems) == 1:
        return f"The workflow {place} cannot run: {problems[0].sentence}."
    lines = "".join(f"\n  {problem.sentence}" for problem in problems)
    return f"The workflow {place} cannot run, for {len(problems)} reasons:{lines}"
