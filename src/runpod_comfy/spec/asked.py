"""What `create` is given on the command line, taken apart: JSON or text, and local paths."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from comfy_errors import InvalidInputError, UnavailableError
from runpod_comfy.spec.complaints import complaint, kind_of
from runpod_comfy.spec.json_text import parse_json, read_json

_M = TypeVar("_M", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class AskedObject:
    """A JSON object of an argument, and where it stands: the option, or a place in a file."""

    fields: dict[str, Any]
    where: str


@dataclass(frozen=True, kw_only=True)
class Folders:
    """Where relative paths are from (`working`), and where the spec will lie (`spec`)."""

    working: Path
    spec: Path

    def rewritten(self, path: str) -> str:
        """A path given from the working directory, as the spec must say it."""
        if Path(path).is_absolute():
            return path
        relative = Path(os.path.relpath(self.working / path, self.spec)).as_posix()
        # A name such as `a:b` would read as an address, and `-x` as an option.
        plain = re.fullmatch(r"[\w.][\w./+ -]*", relative)
        return relative if plain else f"./{relative}"


def read_objects(argument: str, option: str, working: Path) -> list[AskedObject] | None:
    """The JSON objects that an argument holds or names; None if it is neither JSON nor a file.

    Raises InvalidInputError for broken JSON, UnavailableError for a JSON file that is not there.
    """
    text = argument.strip()
    where = option
    if text.startswith(("{", "[")):
        document = parse_json(text, where=option)
    else:
        path = working / text
        if not path.is_file():
            if text.endswith(".json") and "://" not in text:
                raise UnavailableError(
                    f"{option}: there is no file {path}", remedy="Check the path."
                )
            return None
        document = read_json(path, what=f"file for {option}")
        where = str(path)
    if not isinstance(document, list):
        return [_object(document, where)]
    return [_object(item, f"{where} [{index}]") for index, item in enumerate(document)]


def validated(model: type[_M], fields: Mapping[str, Any], where: str) -> _M:
    """The model of these fields. Raises InvalidInputError naming the key that is wrong."""
    try:
        return model.model_validate(dict(fields))
    except ValidationError as error:
        raise complaint(error, model, where=where) from error


def _object(document: Any, where: str) -> AskedObject:
    if not isinstance(document, dict):
        raise InvalidInputError(
            f"{where} must be a JSON object, not {kind_of(document)}",
            remedy="Write an object in braces, or a list of them in a file.",
        )
    return AskedObject(fields=document, where=where)
