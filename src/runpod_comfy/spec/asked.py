"""Arguments that may be a JSON object or a file with several, and the folders that paths in
arguments are relative to.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from comfy_errors import InvalidInputError, UnavailableError, for_each
from comfy_files.json_faults import kind_of
from runpod_comfy.spec.document import parse_json, read_json, validated

_M = TypeVar("_M", bound=BaseModel)


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
