"""JSON as people write it: a model, or one sentence that says what is wrong and where.

Stricter than `json.loads`: a key written twice, NaN and Infinity are errors.
"""

from __future__ import annotations

import difflib
import json
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from comfy_errors import InvalidInputError, UnavailableError
from comfy_files.json_faults import fault_words, key_path

_M = TypeVar("_M", bound=BaseModel)

# A thousand nodes and models are far below this; a model file named by mistake is far above.
_LARGEST_BYTES = 4 * 1024 * 1024
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


class _Object(dict[str, Any]):
    """A JSON object that remembers which key was written twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__()
        self.repeated: str | None = None
        for key, value in pairs:
            if key in self:
                self.repeated = key
            self[key] = value


def read_json(path: Path, *, what: str) -> Any:
    """The JSON document in `path`. `what` names the file's role in messages ("spec").

    Raises UnavailableError without a file, InvalidInputError for anything that is not JSON.
    """
    try:
        if path.is_dir():
            raise InvalidInputError(f"{path} is a folder, not a {what} file")
        if path.stat().st_size > _LARGEST_BYTES:
            raise InvalidInputError(
                f"{path} has {path.stat().st_size:,} bytes, which is too large for a {what}",
                remedy=f"Name a JSON file of at most {_LARGEST_BYTES:,} bytes.",
            )
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise UnavailableError(f"there is no {what} at {path}", remedy="Check the path.") from error
    except OSError as error:
        raise InvalidInputError(
            f"{path} cannot be read: {error.strerror}", remedy="Check its permissions."
        ) from error
    if content.startswith(_UTF16_BOMS):
        raise InvalidInputError(f"{path} is written in UTF-16", remedy="Save it as UTF-8.")
    try:
        # Editors on Windows put a mark at the start of UTF-8; it says nothing.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{path} is not a text file in UTF-8 (byte {error.start})",
            remedy="Name a JSON file, and save it as UTF-8.",
        ) from error
    return parse_json(text, where=str(path))


def parse_json(text: str, *, where: str) -> Any:
    """The document in `text`. `where` names its place in messages.

    Raises InvalidInputError with line and column, or with the path of the repeated key.
    """
    try:
        document = json.loads(text, object_pairs_hook=_Object, parse_constant=_no_constant)
        repeated = next(_repeated_keys(document, ()), None)
    except json.JSONDecodeError as error:
        fault = error.msg[0].lower() + error.msg[1:] if text.strip() else "it is empty"
        raise InvalidInputError(
            f"{where} is not valid JSON: {fault} at line {error.lineno}, column {error.colno}",
            remedy="Correct it there; strings and keys stand in double quotes, "
            "and nothing follows the last entry but its bracket.",
        ) from error
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidInputError(f"{where} is not valid JSON: {reason}") from error
    if repeated is not None:
        raise InvalidInputError(
            f"{where} has the key '{repeated}' twice", remedy="Keep one of the two."
        )
    return document


def validated(model: type[_M], document: Any, *, where: str) -> _M:
    """The model of a document. `where` is the file, or another place that people know.

    Raises InvalidInputError for the first thing that is wrong, and says how many more there are.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        # An unknown key is reported first: a misspelt key often makes another one missing.
        errors = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
        sentence, remedy = _sentence(dict(errors[0]), model)
        more = len(errors) - 1
        tail = f" ({more} more {'complaint' if more == 1 else 'complaints'})" if more else ""
        raise InvalidInputError(f"{where}: {sentence}{tail}", remedy=remedy) from error


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` was probably meant to be."""
    return next(iter(nearest_names(name, known)), None)


def nearest_names(name: str, known: Iterable[str]) -> list[str]:
    """At most three known names that `name` was probably meant to be, the nearest first."""
    by_folded = {candidate.casefold(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.casefold(), by_folded, n=3, cutoff=0.5)
    return [by_folded[match] for match in matches]


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _repeated_keys(document: Any, place: tuple[str | int, ...]) -> Iterator[str]:
    inner: Iterable[tuple[str | int, Any]] = ()
    if isinstance(document, _Object):
        if document.repeated is not None:
            yield key_path((*place, document.repeated))
        inner = document.items()
    elif isinstance(document, list):
        inner = enumerate(document)
    for part, value in inner:
        yield from _repeated_keys(value, (*place, part))


def _sentence(error: dict[str, Any], model: type[BaseModel]) -> tuple[str, str]:
    location, kind = error["loc"], error["type"]
    path = key_path(location) or "the document"
    if kind == "extra_forbidden":
        known = _fields_at(model, location[:-1])
        meant = nearest(str(location[-1]), known)
        hint = f"Did you mean '{meant}'? " if meant else ""
        return f"unknown key '{path}'", f"{hint}Known here: {', '.join(known)}."
    if kind == "missing":
        return f"'{path}' is missing", f"Add the key '{location[-1]}'."
    # A rule about several keys may concern the whole document.
    subject = f"'{path}'" if location or kind != "value_error" else "it"
    return f"{subject} {fault_words(error)}", f"Correct {subject}."


def _fields_at(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
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
