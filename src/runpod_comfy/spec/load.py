"""A version spec from its file: found by id, read, checked, or refused in one sentence."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from comfy_errors import InvalidInputError, UnavailableError
from runpod_comfy.spec.agreement import disagreements
from runpod_comfy.spec.complaints import complaint, nearest
from runpod_comfy.spec.json_text import parse_json, read_json
from runpod_comfy.spec.model import SCHEMA_VERSION, Spec, VersionId


@dataclass(frozen=True, kw_only=True)
class LoadedSpec:
    """A spec and the file it came from, whose folder its relative paths are from."""

    spec: Spec
    path: Path


def check_version_id(version_id: str) -> str:
    """The id itself. Raises InvalidInputError if no version can have it."""
    try:
        return TypeAdapter(VersionId).validate_python(version_id)
    except ValidationError as error:
        reason = error.errors()[0]["ctx"]["error"]
        raise InvalidInputError(
            f"the version id {version_id!r} {reason}", remedy="Choose an id such as 'demo-2'."
        ) from error


def find_spec(version_id: str, project_root: Path) -> Path:
    """Where the spec of a version lies: `versions/<id>.json`.

    Raises InvalidInputError for an id that no version can have, UnavailableError, naming the
    nearest version that exists, if there is no such file.
    """
    path = project_root / "versions" / f"{check_version_id(version_id)}.json"
    if not path.exists():
        raise _no_spec(path)
    return path


def load_spec(path: Path) -> LoadedSpec:
    """Reads and checks a spec.

    Raises UnavailableError if the file is not there, InvalidInputError, naming file and key, for
    everything that is wrong in it.
    """
    path = path.absolute()
    if not path.exists():
        raise _no_spec(path)
    spec = _validate(read_json(path, what="spec"), where=str(path))
    if path.parent.name == "versions" and path.stem != spec.version_id:
        raise InvalidInputError(
            f"{path}: 'version_id' is '{spec.version_id}', but the file is named '{path.name}'",
            remedy=f"Rename the file to '{spec.version_id}.json', or correct 'version_id'.",
        )
    return LoadedSpec(spec=spec, path=path)


def parse_spec(text: str, *, where: str) -> Spec:
    """The spec in `text`, checked as `load_spec` does. `where` names its place in messages."""
    return _validate(parse_json(text, where=where), where=where)


def _validate(document: Any, *, where: str) -> Spec:
    if not isinstance(document, dict):
        raise InvalidInputError(
            f"{where} is not a version spec: it must be a JSON object in braces",
            remedy="See a working one in versions/demo.json.",
        )
    _check_schema_version(document.get("schema_version"), where)
    try:
        spec = Spec.model_validate(document)
    except ValidationError as error:
        raise complaint(error, Spec, where=where) from error
    for disagreement in disagreements(spec):
        raise InvalidInputError(f"{where}: {disagreement.sentence}", remedy=disagreement.remedy)
    return spec


def _check_schema_version(found: Any, where: str) -> None:
    if found == SCHEMA_VERSION and type(found) is int:
        return
    if found is None:
        raise InvalidInputError(
            f"{where}: 'schema_version' is missing",
            remedy=f'Add "schema_version": {SCHEMA_VERSION}, the one that this program reads.',
        )
    age = "is no longer used" if found in (1, "1") else "is not known"
    raise InvalidInputError(
        f"{where}: 'schema_version' is {found!r}, which {age}; "
        f"this program reads schema version {SCHEMA_VERSION}",
        remedy="Write the spec anew with: runpod-comfy create <id> --repo URL@REF",
    )


def _no_spec(path: Path) -> UnavailableError:
    if path.parent.name == "versions":
        hint = _specs_beside(path)
        create = f"runpod-comfy create {path.stem} --repo URL@REF"
    else:
        # The JSON files of any other folder may be anything, so none of them is named.
        hint = "Check the path."
        create = f"runpod-comfy create ID --repo URL@REF --output {shlex.quote(str(path))}"
    return UnavailableError(
        f"there is no version spec at {path}", remedy=f"{hint} A new one is written by: {create}"
    )


def _specs_beside(path: Path) -> str:
    known = sorted(item.stem for item in path.parent.glob("*.json"))
    meant = nearest(path.stem, known)
    if meant:
        return f"Did you mean '{meant}'?"
    if known:
        return f"There are: {', '.join(known[:10])}."
    return "There is no spec in that folder yet."
