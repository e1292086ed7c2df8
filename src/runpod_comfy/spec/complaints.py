"""What pydantic found wrong in a document, as one sentence with the path of the key."""

from __future__ import annotations

import difflib
import types
import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from comfy_errors import InvalidInputError

_KINDS = {
    "string_type": "text in double quotes",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "list_type": "a list in square brackets",
    "dict_type": "an object in braces",
    "model_type": "an object in braces",
    "model_attributes_type": "an object in braces",
}


def complaint(error: ValidationError, model: type[BaseModel], *, where: str) -> InvalidInputError:
    """The first thing wrong, and how many more there are. `where` is the file.

    `model` is the one that was validated: its fields give the nearest valid names.
    """
    # An unknown key is told first: a misspelt key often makes another one missing.
    errors = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    first = errors[0]
    sentence, remedy = _sentence(dict(first), model)
    more = len(errors) - 1
    tail = f" ({more} more {'complaint' if more == 1 else 'complaints'})" if more else ""
    return InvalidInputError(f"{where}: {sentence}{tail}", remedy=remedy)


def key_path(location: typing.Sequence[str | int]) -> str:
    """`custom_nodes[1].ref` for ('custom_nodes', 1, 'ref')."""
    text = ""
    for part in location:
        if part == "[key]":
            continue
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            # A key may hold anything; what a terminal would obey is shown in escapes.
            text += f".{part}" if part.isprintable() else f".{part!a}"
    return text.removeprefix(".")


def nearest(name: str, known: typing.Iterable[str]) -> str | None:
    """The known name that `name` was probably meant to be."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.5)
    return by_folded[matches[0]] if matches else None


def _sentence(error: dict[str, Any], model: type[BaseModel]) -> tuple[str, str]:
    location, kind, context = error["loc"], error["type"], error.get("ctx", {})
    path = key_path(location) or "the document"
    if kind == "extra_forbidden":
        known = _fields_at(model, location[:-1])
        meant = nearest(str(location[-1]), known)
        hint = f"Did you mean '{meant}'? " if meant else ""
        return f"unknown key '{path}'", f"{hint}Known here: {', '.join(known)}."
    if kind == "missing":
        return f"'{path}' is missing", f"Add the key '{location[-1]}'."
    if kind == "value_error":
        # A complaint about how several keys go together may be about the whole document.
        subject = f"'{path}'" if location else "it"
        return f"{subject} {context['error']}", f"Correct {subject}."
    if kind == "literal_error":
        return f"'{path}' must be {context['expected']}", f"Correct '{path}'."
    if kind == "greater_than_equal":
        return f"'{path}' must be at least {context['ge']}", f"Correct '{path}'."
    if kind in _KINDS:
        found = kind_of(error["input"])
        return f"'{path}' must be {_KINDS[kind]}, not {found}", f"Correct '{path}'."
    return f"'{path}': {error['msg'][0].lower()}{error['msg'][1:]}", f"Correct '{path}'."


def _fields_at(model: type[BaseModel], location: typing.Sequence[str | int]) -> list[str]:
    """The names of the fields of the model that lies at `location` below `model`."""
    current: Any = model
    for name in (part for part in location if isinstance(part, str)):
        current = _model_in(current.model_fields[name].annotation)
    return list(current.model_fields)


def _model_in(annotation: Any) -> Any:
    """The model class inside `X`, `X | None`, `list[X]` or `Annotated[X, …]`."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    found = (_model_in(argument) for argument in typing.get_args(annotation))
    return next((item for item in found if item is not None), None)


def kind_of(value: Any) -> str:
    """What a JSON value is, in words."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    return {str: "text", int: "a number", float: "a number", list: "a list"}.get(
        type(value), "an object"
    )
