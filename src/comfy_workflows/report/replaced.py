"""Which nodes of a workflow have another implementation in another version, and what changed.

`/object_info` of both versions is compared: where a class comes from, its inputs and its outputs.
What only the editor shows, such as tooltips, does not count.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from comfy_errors.names import capitalized, listed
from comfy_workflows.graph import Graph
from comfy_workflows.node_inputs import (
    UPLOADS,
    ObjectInfo,
    choices_of,
    declared_inputs,
    kind_of,
    module_of,
    settings_of,
)
from comfy_workflows.report.parts import Replaced

_CUSTOM = "custom_nodes."
_LISTED = 8


def replaced_nodes(graph: Graph, before: ObjectInfo, after: ObjectInfo) -> list[Replaced]:
    """The nodes whose class differs between `before` and `after`, in the order of the graph.

    A class that only one of the two has is left out: the workflow cannot run without it.
    """
    found = []
    for node in graph.nodes.values():
        then, now = before.get(node.class_type), after.get(node.class_type)
        if then is None or now is None:
            continue
        changes = list(_changes(then, now))
        if changes:
            sentence = f"{capitalized('; '.join(changes))}."
            found.append(Replaced(node=node.id, class_type=node.class_type, sentence=sentence))
    return found


def _changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    origins = [_origin(module_of(info)) for info in (then, now)]
    if origins[0] != origins[1]:
        yield f"it came from {origins[0]}, and comes from {origins[1]}"
    forms = [_is_new_form(info) for info in (then, now)]
    if forms[0] != forms[1]:
        old, new = ("V3", "V1") if forms[0] else ("V1", "V3")
        yield f"its code was rewritten from node interface {old} to {new}"
    yield from _changes_of_inputs(then, now)
    outputs = [_types(info) for info in (then, now)]
    if outputs[0] != outputs[1]:
        yield f"its outputs were {_names(outputs[0])}, and are {_names(outputs[1])}"
    for flag in ("deprecated", "experimental"):
        if bool(then.get(flag)) != bool(now.get(flag)):
            yield f"it is {'now' if now.get(flag) else 'no longer'} {flag}"
    names = [info.get("display_name") for info in (then, now)]
    if all(names) and names[0] != names[1]:
        yield f"its name was {_value(names[0])}, and is {_value(names[1])}"


def _origin(module: str) -> str:
    if module.startswith(_CUSTOM):
        return f"the custom node {module.removeprefix(_CUSTOM)}"
    return f"the core ({module})" if module else "an unknown module"


def _is_new_form(info: Mapping[str, Any]) -> bool:
    """True for a class of node interface V3, which states these even if they do not apply."""
    return any(info.get(flag) is False for flag in ("deprecated", "experimental"))


def _types(info: Mapping[str, Any]) -> list[str]:
    """The types of the outputs; of one that is a choice, `COMBO`."""
    outputs = info.get("output")
    lists = info.get("output_is_list")
    if not isinstance(outputs, list):
        return []
    are_lists = lists if isinstance(lists, list) and len(lists) == len(outputs) else []
    return [
        f"{'list of ' if is_list else ''}{each if isinstance(each, str) else 'COMBO'}"
        for each, is_list in zip(outputs, are_lists or [False] * len(outputs), strict=True)
    ]


def _changes_of_inputs(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    old, new = (declared_inputs(info, "required", "optional") for info in (then, now))
    for title, names in (
        ("gone", [name for name in old if name not in new]),
        ("new", [name for name in new if name not in old]),
    ):
        if names:
            yield f"inputs {title}: {listed(names, at_most=_LISTED)}"
    for name in old:
        if name in new:
            yield from (
                f"input {name}: {change}" for change in _changes_of_input(old[name], new[name])
            )


def _changes_of_input(old: Any, new: Any) -> Iterator[str]:
    choices, others = choices_of(old), choices_of(new)
    kinds = [
        kind_of(each) if known is None else "COMBO"
        for each, known in ((old, choices), (new, others))
    ]
    if kinds[0] != kinds[1]:
        yield f"its type was {_value(kinds[0])}, and is {_value(kinds[1])}"
        return
    then, now = settings_of(old), settings_of(new)
    for key in ("default", "min", "max"):
        if key in then and key in now and then[key] != now[key]:
            yield f"{key} was {_value(then[key])}, and is {_value(now[key])}"
    # Files of the input folder are no part of a version.
    if choices is not None and others is not None and not any(now.get(one) for one in UPLOADS):
        for title, one, other in (("no longer", choices, others), ("also", others, choices)):
            if names := [_value(each) for each in one if each not in other]:
                yield f"{title} {listed(names, at_most=_LISTED)}"


def _names(types: Sequence[str]) -> str:
    return listed(types, at_most=_LISTED) or "none"


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
