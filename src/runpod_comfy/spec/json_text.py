"""JSON as people write it: bytes to a document, or one sentence that says where it is broken.

Stricter than `json.loads`: a key written twice, NaN and Infinity are errors.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from comfy_errors import InvalidInputError, UnavailableError

# A thousand nodes and models are far below this; a model file named by mistake is far above.
_LARGEST_BYTES = 4 * 1024 * 1024
_UTF8_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_DEEPEST = 100


class _Object(dict[str, Any]):
    """A JSON object that remembers which key was written twice."""

    repeated: str | None = None


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
    return parse_json(_decode(content, path), where=str(path))


def parse_json(text: str, *, where: str) -> Any:
    """The document in `text`. `where` names its place in messages.

    Raises InvalidInputError with line and column, or with the path of the repeated key.
    """
    try:
        document = json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise InvalidInputError(
            f"{where} is not valid JSON: {_in_words(error)} "
            f"at line {error.lineno}, column {error.colno}",
            remedy="Correct it there; strings and keys stand in double quotes, "
            "and nothing follows the last entry but its bracket.",
        ) from error
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidInputError(f"{where} is not valid JSON: {reason}") from error
    for repeated in _repeated_keys(document, ""):
        raise InvalidInputError(
            f"{where} has the key '{repeated}' twice", remedy="Keep one of the two."
        )
    return document


def _decode(content: bytes, path: Path) -> str:
    if content.startswith(_UTF16_BOMS):
        raise InvalidInputError(f"{path} is written in UTF-16", remedy="Save it as UTF-8.")
    try:
        # Editors on Windows put the mark there; it says nothing.
        return content.removeprefix(_UTF8_BOM).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{path} is not a text file in UTF-8 (byte {error.start})",
            remedy="Name a JSON file, and save it as UTF-8.",
        ) from error


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    result = _Object()
    for key, value in pairs:
        if key in result:
            result.repeated = key
        result[key] = value
    return result


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _repeated_keys(document: Any, place: str) -> Iterator[str]:
    if place.count(".") + place.count("[") > _DEEPEST:
        raise InvalidInputError(f"the document is nested too deeply at '{place[:60]}…'")
    if isinstance(document, _Object):
        if document.repeated is not None:
            yield f"{place}.{document.repeated}".removeprefix(".")
        for key, value in document.items():
            yield from _repeated_keys(value, f"{place}.{key}".removeprefix("."))
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from _repeated_keys(value, f"{place}[{index}]")


def _in_words(error: json.JSONDecodeError) -> str:
    if not error.doc.strip():
        return "it is empty"
    return error.msg[0].lower() + error.msg[1:]
