"""What is wrong with the inputs of one node of a graph, by the node's entry in `object_info`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy_errors import InvalidInputError
from comfy_errors.names import escaped, listed, nearest
from comfy_workflows.graph import Graph, GraphNode, Problem, ProblemKind, is_link
from comfy_workflows.model_files import ModelFolders, is_there, looks_like_a_model
from comfy_workflows.node_code import NodeCode

ObjectInfo = Mapping[str, Mapping[str, Any]]

_LISTED = 8
UPLOADS = ("image_upload", "audio_upload", "video_upload", "file_upload")
_ANNOTATIONS = ("[output]", "[input]", "[temp]")
# How the engine reads a number, and what it is called.
_NUMBERS: Mapping[str, tuple[Callable[[Any], float], str]] = {
    "INT": (int, "a whole number"),
    "FLOAT": (float, "a number"),
}


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known about a version without its engine; see `preflight`."""

    object_info: ObjectInfo
    models: ModelFolders
    input_folder: Path
    also_not_in: str
    code: NodeCode


def object_info_in(document: object, title: str, *, remedy: str) -> dict[str, Any]:
    """`document` as the engine's `/object_info`: an object for each node class.

    `title` names it in messages. Raises InvalidInputError if it is anything else.
    """
    if not isinstance(document, dict):
        raise InvalidInputError(f"{title} is not a JSON object", remedy=remedy)
    broken = next((name for name, it in document.items() if not isinstance(it, dict)), None)
    if broken is not None:
        raise InvalidInputError(
            f"{title} has no JSON object for the node class {json.dumps(broken)}", remedy=remedy
        )
    return document


def problems_of_node(node: GraphNode, graph: Graph, known: Known) -> Iterator[Problem]:
    """The problems of a node's inputs. Its class is in `known.object_info`."""
    info = known.object_info[node.class_type]
    yield from _problems_of_inputs(node, graph, info)
    yield from _problems_of_links(node, graph, known)
    yield from _problems_of_numbers(node, info, known.code)
    yield from _problems_of_choices(node, info, known)


def declared_inputs(info: Mapping[str, Any], *kinds: str) -> dict[str, Any]:
    """The inputs of a node class with their specifications, of `kinds` (required, optional)."""
    declared = _object_at(info, "input")
    return {name: it for kind in kinds for name, it in _object_at(declared, kind).items()}


def _object_at(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object at a key; an empty one if a custom node gave anything else."""
    value = document.get(key)
    return value if isinstance(value, Mapping) else {}


def choices_of(specification: Any) -> list[Any] | None:
    """The choices of a combo input, in the old or the new form; None for any other input."""
    if isinstance(specification, list) and specification:
        options = settings_of(specification).get("options")
        if isinstance(specification[0], list):
            return specification[0]
        if specification[0] == "COMBO" and isinstance(options, list):
            return options
    return None


def named_models(
    node: GraphNode, info: Mapping[str, Any], models: ModelFolders
) -> Iterator[tuple[Sequence[str], str]]:
    """The models that the inputs of a node name: the folder names in which the engine looks for
    each, and its name there.
    """
    for name, specification in declared_inputs(info, "required", "optional").items():
        value, settings = node.inputs.get(name), settings_of(specification)
        if not isinstance(value, str) or not looks_like_a_model(value):
            continue
        if choices_of(specification) is None or any(settings.get(flag) for flag in UPLOADS):
            continue
        yield _searched_folders(node, name, models), value


def _searched_folders(node: GraphNode, name: str, models: ModelFolders) -> Sequence[str]:
    """The folder names whose files an input offers; all of them if that is not known."""
    return models.inputs.get(node.class_type, {}).get(name) or tuple(models.folders)


def _problems_of_inputs(
    node: GraphNode, graph: Graph, info: Mapping[str, Any]
) -> Iterator[Problem]:
    """Inputs that are missing or linked to a node that does not exist."""
    for name, specification in declared_inputs(info, "required").items():
        if name not in node.inputs and not _has_a_shifting_shape(specification):
            yield _invalid(node, name, "is required but missing")
    declared = declared_inputs(info, "required", "optional")
    for name, value in node.inputs.items():
        if not isinstance(value, list) or is_link(value):
            continue
        if len(value) == 2 or name in declared:
            yield _invalid(node, name, f'is {json.dumps(value)}; a link looks like ["4", 0]')
    for name, source in node.links().items():
        if source not in graph.nodes:
            yield _invalid(node, name, f"comes from node {source}, which does not exist")


def _problems_of_links(node: GraphNode, graph: Graph, known: Known) -> Iterator[Problem]:
    """Links to an output that its node does not have, or of another type than the input."""
    info = known.object_info[node.class_type]
    declared = declared_inputs(info, "required", "optional")
    for name, source in node.links().items():
        above = graph.nodes.get(source)
        if name not in declared or above is None or above.class_type not in known.object_info:
            continue
        origin, slot = known.object_info[above.class_type], node.inputs[name][1]
        outputs = origin.get("output")
        if not isinstance(outputs, list):
            continue
        title = f"node {source} ({above.class_type})"
        if not -len(outputs) <= slot < len(outputs):
            yield _invalid(
                node, name, f"comes from output {slot} of {title}, which has no such output"
            )
            continue
        given, wanted = outputs[slot], kind_of(declared[name])
        if _may_connect(given, wanted):
            continue
        if not any(known.code.has_own_rules(module_of(each)) for each in (info, origin)):
            yield _invalid(node, name, f"is {wanted}, but output {slot} of {title} is {given}")


def _may_connect(given: object, wanted: object) -> bool:
    """True if an output of type `given` fits an input of type `wanted`, or if that is unknown."""
    if not isinstance(given, str) or not isinstance(wanted, str):
        return True
    types = [{each.strip() for each in text.split(",")} for text in (given, wanted)]
    is_open = any(each == "*" or each.startswith("COMFY_") for each in types[0] | types[1])
    return is_open or not types[0].isdisjoint(types[1])


def _problems_of_numbers(
    node: GraphNode, info: Mapping[str, Any], code: NodeCode
) -> Iterator[Problem]:
    """Values that are no numbers, or out of range, as the engine reads them."""
    for name, specification in declared_inputs(info, "required", "optional").items():
        kind, value = kind_of(specification), node.inputs.get(name)
        if not isinstance(kind, str) or kind not in _NUMBERS or name not in node.inputs:
            continue
        if isinstance(value, list):
            continue
        if isinstance(value, dict) and "__value__" in value:
            value = value["__value__"]
        convert, words = _NUMBERS[kind]
        try:
            number = convert(value)
        except (TypeError, ValueError, OverflowError):
            yield _invalid(node, name, f"{json.dumps(value)} is not {words}")
            continue
        fault = _beyond(number, settings_of(specification))
        if fault and not code.has_own_rules(module_of(info)):
            yield _invalid(node, name, f"{json.dumps(value)} is {fault}")


def _beyond(number: float, settings: Mapping[str, Any]) -> str:
    """How a number exceeds its limits, or ''."""
    least, most = settings.get("min"), settings.get("max")
    if isinstance(least, int | float) and number < least:
        return f"less than {least}, the minimum"
    if isinstance(most, int | float) and number > most:
        return f"more than {most}, the maximum"
    return ""


def _problems_of_choices(
    node: GraphNode, info: Mapping[str, Any], known: Known
) -> Iterator[Problem]:
    """Values that an input does not offer: files, models and plain choices."""
    module, models, input_folder = module_of(info), known.models, known.input_folder
    for name, specification in declared_inputs(info, "required", "optional").items():
        value, options = node.inputs.get(name), choices_of(specification)
        settings = settings_of(specification)
        if options is None or name not in node.inputs or value in options:
            continue
        if isinstance(value, list | dict) or settings.get("multiselect") or settings.get("remote"):
            continue
        folders = models.inputs.get(node.class_type, {}).get(name, ())
        if isinstance(value, str) and any(settings.get(flag) for flag in UPLOADS):
            if not value.endswith(_ANNOTATIONS) and not is_there(input_folder / value):
                yield _invalid(node, name, f'"{value}" is not in {input_folder}{known.also_not_in}')
        elif isinstance(value, str) and (folders or looks_like_a_model(value)):
            searched = _searched_folders(node, name, models)
            if not looks_like_a_model(value) or models.holds(searched, value):
                continue
            if accepted := models.accepted_name(searched, value):
                fault = f'"{value}" is a path, and not the name of a model: write "{accepted}"'
                yield _invalid(node, name, fault)
                continue
            fault = f'the model file "{value}" is not in {_searched(value, folders, models)}'
            yield _invalid(node, name, fault, kind="missing_model")
        elif isinstance(value, str) and (
            value.endswith(_ANNOTATIONS) or is_there(input_folder / value)
        ):
            # A list of input files, which was made when the version was checked.
            continue
        elif (
            options
            and not known.code.has_own_rules(module)
            and known.code.has_fixed_choices(module, options)
        ):
            meant = the_nearest(str(value), options)
            yield _invalid(node, name, f"{json.dumps(value)} is not a valid choice{meant}")


def _invalid(
    node: GraphNode, name: str, fault: str, kind: ProblemKind = "invalid_input"
) -> Problem:
    return problem_of(node, f"node {node.id} ({node.class_type}), {name}: {fault}", kind)


def problem_of(node: GraphNode, sentence: str, kind: ProblemKind = "invalid_input") -> Problem:
    return Problem(kind=kind, node=node.id, class_type=node.class_type, sentence=escaped(sentence))


def _searched(value: str, folders: Sequence[str], models: ModelFolders) -> str:
    if not folders:
        return f"any model folder below {models.roots[0]}"
    there = models.listing(folders)
    holds = f"holds {listed(there, at_most=_LISTED)}" if there else "is empty"
    if len(there) > _LISTED and (meant := nearest(value, there)):
        holds += f'; the nearest is "{meant}"'
    place = f"the model folder {' or '.join(folders)} ({models.directories(folders)[0]})"
    return f"{place}, which {holds}"


def settings_of(specification: Any) -> Mapping[str, Any]:
    """The settings of an input, such as its default; empty without any."""
    if isinstance(specification, list) and len(specification) > 1:
        return specification[1] if isinstance(specification[1], dict) else {}
    return {}


def kind_of(specification: Any) -> Any:
    """The type of an input; a list of choices for a combo in the old form."""
    return specification[0] if isinstance(specification, list) and specification else None


def module_of(info: Mapping[str, Any]) -> str:
    """The module of a node class, `nodes` or `custom_nodes.a-node`; empty if it is not known."""
    return str(info.get("python_module", ""))


def _has_a_shifting_shape(specification: Any) -> bool:
    """True for inputs that have other names in a graph (such as `COMFY_AUTOGROW_V3`)."""
    kind = kind_of(specification)
    return isinstance(kind, str) and kind.startswith("COMFY_")


def the_nearest(value: str, known: list[Any]) -> str:
    names = [name for name in known if isinstance(name, str)]
    if meant := nearest(value, names):
        return f'; the nearest is "{meant}"'
    return f"; known are {', '.join(names)}" if len(names) <= _LISTED else ""
