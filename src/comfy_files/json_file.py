"""Reads JSON files, and reports a broken one the same way everywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from comfy_errors import InvalidInputError, UnavailableError
from comfy_files.files import os_remedy
from comfy_files.json_faults import faults_in_words

if TYPE_CHECKING:
    from pydantic import BaseModel

_Model = TypeVar("_Model", bound="BaseModel")


def read_json(
    path: Path, what: str, *, remedy: str, refusal: type[InvalidInputError] = InvalidInputError
) -> Any:
    """The document in the file at `path`; `what` names its kind in messages ("workflow").

    Raises UnavailableError if there is no such file, and `refusal` with the fault and its position
    if it is broken.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise UnavailableError(f"there is no {what} at {path}", remedy=remedy) from error
    except OSError as error:
        fault = f"cannot be read: {(error.strerror or str(error)).lower()}"
        raise refusal(
            f"the {what} {path} {fault}", remedy=os_remedy(error, otherwise=remedy)
        ) from error
    return parse_json(content, f"the {what} {path}", remedy=remedy, refusal=refusal)


def parse_json(
    content: bytes, title: str, *, remedy: str, refusal: type[InvalidInputError] = InvalidInputError
) -> Any:
    """The document in `content`; `title` names it in messages ("the workflow a.json").

    Raises `refusal` with the fault and its position if it is broken.
    """
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        fault = f"is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        raise refusal(f"{title} {fault}", remedy=remedy) from error
    except RecursionError as error:
        raise refusal(f"{title} is nested too deeply", remedy=remedy) from error
    except UnicodeDecodeError as error:
        fault = f"is not text in UTF-8 (byte {error.start})"
        raise refusal(f"{title} {fault}", remedy=remedy) from error


def read_object(path: Path, what: str, *, remedy: str) -> dict[str, Any]:
    """The JSON object in the file at `path`. Any other value raises InvalidInputError.

    Otherwise raises as `read_json` does.
    """
    document = read_json(path, what, remedy=remedy)
    if isinstance(document, dict):
        return document
    raise InvalidInputError(f"the {what} {path} is not a JSON object", remedy=remedy)


def read_model(path: Path, model: type[_Model], what: str, *, remedy: str) -> _Model:
    """The file at `path`, validated as `model` in strict mode. Raises as `read_json` does."""
    from pydantic import ValidationError

    document = read_json(path, what, remedy=remedy)
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise InvalidInputError(
            f"the {what} {path} cannot be used: {faults_in_words(error)}", remedy=remedy
        ) from error
