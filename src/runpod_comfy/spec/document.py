"""Reads JSON written by hand into a model, or reports what is wrong and where.

Stricter than `json.loads`: duplicate keys, NaN and Infinity are errors. An argument may be a JSON
object, or name a file with several.
"""

from __future__ import annotations

import json
import os
import re
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from comfy_errors import InvalidInputError, UnavailableError, for_each
from comfy_errors.names import in_lines, listed, nearest
from comfy_files.json_faults import fault_words, key_path, kind_of

_M = TypeVar("_M", bound=BaseModel)

Fault: TypeAlias = tuple[str, str]
"""What is wrong in a document, as a sentence, and what to do about it."""

# A thousand nodes and models are far below this; a model file passed by mistake is far above.
_LARGEST_BYTES = 4 * 1024 * 1024
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


class _Object(dict[str, Any]):
    """A JSON object that remembers a duplicate key."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__()
        self.repeated: str | None = None
        for key, value in pairs:
            if key in self:
                self.repeated = key
            self[key] = value


def read_json(path: Path, *, what: str) -> Any:
    """The JSON document in `path`. `what` names the file's role in messages ("spec").

    Raises UnavailableError if there is no file, InvalidInputError for anything that is not JSON.
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
        # Editors on Windows put a byte order mark at the start of UTF-8; it is ignored.
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
        repeated = list(_repeated_keys(document, ()))
        # Half of a pair such as "\\ud800" is JSON, but no text, path or file can have it.
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start])
        raise InvalidInputError(
            f"{where} has half of a character, {half}", remedy="Write all of it, or leave it out."
        ) from error
    except json.JSONDecodeError as error:
        fault = error.msg[0].lower() + error.msg[1:] if text.strip() else "it is empty"
        raise InvalidInputError(
            f"{where} is not valid JSON: {fault} at line {error.lineno}, column {error.colno}",
            remedy="Correct it there: strings and keys need double quotes, and there is no comma "
            "after the last entry.",
        ) from error
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidInputError(f"{where} is not valid JSON: {reason}") from error
    if repeated:
        keys = listed([f"'{key}'" for key in repeated])
        noun = "key" if len(repeated) == 1 else "keys"
        raise InvalidInputError(
            f"{where} has the {noun} {keys} twice", remedy="Keep one of the two."
        )
    return document


def validated(model: type[_M], document: Any, *, where: str) -> _M:
    """The model of a document. `where` is the file, or another name for its origin.

    Raises InvalidInputError for everything that is wrong in it.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        # Unknown keys are reported first: a misspelt key often makes another one missing.
        errors = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
        raise faults_in(where, [_sentence(dict(each), model) for each in errors]) from error


def faults_in(where: str, faults: Sequence[Fault]) -> InvalidInputError:
    """The error of a document with these faults, at least one; several have a line each."""
    if len(faults) == 1:
        ((sentence, remedy),) = faults
        return InvalidInputError(f"{where}: {sentence}", remedy=remedy)
    lines = in_lines([f"{sentence}. {remedy}" for sentence, remedy in faults])
    return InvalidInputError(
        f"{where} has {len(faults)} errors:{lines}", remedy="Correct each of them."
    )


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
    """The field names of the model at `location` below `model`."""
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


@dataclass(frozen=True, kw_only=True)
class Folders:
    """The base of relative paths (`working`), and the folder of the spec (`spec`)."""

    working: Path
    spec: Path

    def rewritten(self, path: str) -> str:
        """A path relative to the working directory, rewritten for the spec."""
        if Path(path).is_absolute():
            return path
        relative = Path(os.path.relpath(self.working / path, self.spec)).as_posix()
        # A name such as `a:b` would be read as a URL, and `-x` as an option.
        plain = re.fullmatch(r"[\w.][\w./+ -]*", relative)
        return relative if plain else f"./{relative}"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        # A long text in which somebody forgot the braces.
        return False


def read_objects(
    argument: str, option: str, model: type[_M], folders: Folders
) -> list[tuple[_M, str]] | None:
    """The JSON objects in an argument or in the file that it names, each with its position (the
    option, or a place in a file); None if the argument is neither JSON nor a file.

    Raises InvalidInputError for broken JSON or a wrong key, UnavailableError for a missing JSON
    file.
    """
    text = argument.strip()
    path = folders.working / text
    if text.startswith(("{", "[")):
        document, place = parse_json(text, where=option), option
    elif _is_file(path):
        document, place = read_json(path, what=f"file for {option}"), str(path)
    elif text.endswith(".json") and "://" not in text:
        raise UnavailableError(f"{option}: there is no file {path}", remedy="Check the path.")
    else:
        return None
    items = [(document, place)]
    if isinstance(document, list):
        items = [(item, f"{place} [{index}]") for index, item in enumerate(document)]

    def read(item: tuple[Any, str]) -> tuple[_M, str]:
        content, where = item
        if not isinstance(content, dict):
            raise InvalidInputError(
                f"{where} must be a JSON object, not {kind_of(content)}",
                remedy="Pass an object in braces, or a list of them in a file.",
            )
        return validated(model, content, where=where), where

    return for_each(read, items)
