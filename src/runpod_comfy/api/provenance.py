"""What a picture was made from, as the file says, which is not trusted."""

from __future__ import annotations

import json
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from comfy_errors import InvalidInputError, UnavailableError
from comfy_files.json_faults import faults_in_words
from comfy_files.json_model import Reported
from comfy_models.model_file import Sha256
from comfy_workflows.compare.run import Device
from comfy_workflows.graph import Graph, parse_workflow, workflow_digest
from rp_handler.job.provenance import NAME, PROMPT, SCHEMA
from rp_handler.pictures.texts import texts_in
from rp_handler.sendable import is_too_deep
from runpod_comfy.spec.values import Checksum, VersionId

_LARGEST_BYTES = 256 << 20
_MOST = 10_000
_SCHEMA = re.compile(r"runpod-comfy/provenance/\d{1,9}")
_MAKE_ONE = "Pictures of a run with --provenance say what they were made from."


class MadeBy(Reported):
    """The version; `id` and `lock` are None for a ComfyUI that `init` installed."""

    id: VersionId | None
    lock: Checksum | None
    image: str | None
    comfyui: str | None
    handler: str


class UsedModel(Reported):
    """A model by its path below the models folder."""

    path: str
    sha256: Sha256 | None


class UsedInput(Reported):
    """A file by its name in the input folder."""

    name: str
    sha256: Sha256


class Provenance(Reported):
    """The document, as docs/contracts.md has it."""

    schema_tag: Literal["runpod-comfy/provenance/1"] = Field(alias="schema")
    version: MadeBy
    workflow: Checksum
    models: list[UsedModel] | None = Field(max_length=_MOST)
    inputs: list[UsedInput] = Field(max_length=_MOST)
    device: Device


@dataclass(frozen=True, kw_only=True)
class PictureOrigin:
    """What a picture says, and the graph in it, if there is one."""

    provenance: Provenance
    graph: Graph | None

    @property
    def graph_digest(self) -> str | None:
        return workflow_digest(self.graph) if self.graph is not None else None


def read_origin(path: Path) -> PictureOrigin:
    """What the PNG, JPEG or WebP file at `path` says.

    Raises UnavailableError if there is no such file, InvalidInputError for a file that says nothing
    or cannot be used.
    """
    content = _content_of(path)
    try:
        texts = texts_in(content, (NAME, PROMPT))
    except ValueError as error:
        fault = "has a text that is no UTF-8" if isinstance(error, UnicodeError) else ""
        raise InvalidInputError(
            f"{path} {fault or f'cannot be used: {error}'}", remedy="Take the file as it was made."
        ) from error
    if texts is None:
        raise InvalidInputError(f"{path} is not a PNG, JPEG or WebP file", remedy=_MAKE_ONE)
    if NAME not in texts:
        raise InvalidInputError(f"{path} does not say what it was made from", remedy=_MAKE_ONE)
    document = _json_in(texts[NAME], NAME, path)
    _require_schema(document, path)
    try:
        provenance = Provenance.model_validate(document)
        graph = None
        if PROMPT in texts:
            graph = parse_workflow(_json_in(texts[PROMPT], PROMPT, path), place=f"in {path}")
    except ValidationError as error:
        fault = f"the {NAME} in {path} cannot be used: {faults_in_words(error)}"
        raise InvalidInputError(fault, remedy="Take the file as it was made.") from error
    return PictureOrigin(provenance=provenance, graph=graph)


def _content_of(path: Path) -> bytes:
    remedy = "Name a picture of a result."
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InvalidInputError(f"{path} is not a file", remedy=remedy)
        if status.st_size > _LARGEST_BYTES:
            limit = f"more than {_LARGEST_BYTES >> 20} MB"
            raise InvalidInputError(f"{path} is too large for a picture: {limit}", remedy=remedy)
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UnavailableError(f"there is no file {path}", remedy=remedy) from error
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", "") or str(error)).lower()
        raise InvalidInputError(f"{path} cannot be read: {reason}", remedy=remedy) from error


def _json_in(text: str, name: str, path: Path) -> Any:
    fault = ""
    try:
        value = json.loads(text)
        fault = "nested too deeply" if is_too_deep(value) else ""
    except RecursionError:
        fault = "nested too deeply"
    except ValueError:
        fault = "not valid JSON"
    if fault:
        raise InvalidInputError(
            f"the {name} in {path} is {fault}", remedy="Take the file as it was made."
        )
    return value


def _require_schema(document: Any, path: Path) -> None:
    found = document.get("schema") if isinstance(document, dict) else None
    if isinstance(found, str) and _SCHEMA.fullmatch(found) and found != SCHEMA:
        raise InvalidInputError(
            f"the {NAME} in {path} has the format {found}; this program reads {SCHEMA}",
            remedy="Use the version of runpod-comfy that made the picture, or a later one.",
        )
