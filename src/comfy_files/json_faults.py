"""What is wrong with a value of a JSON document, in plain words instead of pydantic's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

_KINDS = {
    "string_type": "text in double quotes",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list in square brackets",
    "tuple_type": "a list in square brackets",
    "dict_type": "an object in braces",
    "model_type": "an object in braces",
    "model_attributes_type": "an object in braces",
    "none_required": "null",
}
_LIMITS = {"greater_than": "more than {gt:g}", "greater_than_equal": "at least {ge:g}"}
_SHOWN_AT_MOST = 10
_OPENINGS = ("Input should ", "String should ", "List should ", "Tuple should ")


def faults_in_words(error: ValidationError) -> str:
    """The faults that pydantic reports, each with the path of its key, as the end of a sentence."""
    faults = error.errors(include_url=False)
    shown = [_in_words(fault) for fault in faults[:_SHOWN_AT_MOST]]
    more = len(faults) - _SHOWN_AT_MOST
    return "; ".join([*shown, *([f"and {more} more"] if more > 0 else [])])


def _in_words(fault: Mapping[str, Any]) -> str:
    path = key_path(fault["loc"])
    return f"'{path}' {fault_words(fault)}" if path else f"it {fault_words(fault)}"


def fault_words(fault: Mapping[str, Any]) -> str:
    """What is wrong with a value, as the end of a sentence about it: "must be a number, not text".

    `fault` is an entry of pydantic's `ValidationError.errors()`.
    """
    kind, context = fault["type"], fault.get("ctx", {})
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "is not a known key"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"must be {context['expected']}"
    if kind in _LIMITS:
        return f"must be {_LIMITS[kind].format_map(context)}"
    if kind in _KINDS:
        return f"must be {_KINDS[kind]}, not {kind_of(fault['input'])}"
    return plain_words(fault["msg"])


def plain_words(message: str) -> str:
    """A message of pydantic as the end of a sentence about the value."""
    for opening in _OPENINGS:
        if message.startswith(opening):
            return f"must {message.removeprefix(opening)}"
    return f"is wrong: {message[0].lower()}{message[1:]}"


def key_path(location: Sequence[str | int]) -> str:
    """`custom_nodes[1].ref` for ('custom_nodes', 1, 'ref')."""
    text = ""
    for part in location:
        if part == "[key]":
            continue
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            # A key may hold anything; control characters are shown as escapes.
            text += f".{part}" if part.isprintable() else f".{part!a}"
    return text.removeprefix(".")


def kind_of(value: Any) -> str:
    """The name of a JSON value's type, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    return {str: "text", int: "a number", float: "a number", list: "a list"}.get(
        type(value), "an object"
    )
