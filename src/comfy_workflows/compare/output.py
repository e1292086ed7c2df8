"""One output of a run or of a baseline: where it belongs, its hashes, and how to read its file."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any, Literal

from pydantic import ValidationError

from comfy_errors import InvalidInputError
from comfy_files.json_faults import faults_in_words
from comfy_files.json_model import Reported
from comfy_workflows.compare.content import Content, content_of
from comfy_workflows.compare.decoded import Opener

OutputKind = Literal["image", "file", "text"]
# The node, the kind, and the index among that node's outputs of that kind.
Place = tuple[str, OutputKind, int]

_RUN_AGAIN = "Run the workflow again with this version of runpod-comfy."


@dataclass(frozen=True, kw_only=True)
class Output:
    """An output, by the node that made it.

    `number` counts, from 0, the outputs of its kind that `node` made. Names do not identify an
    output: ComfyUI names previews at random. `sha256` is that of the file's bytes, 64 hex digits;
    of a text, of its UTF-8 bytes. `open` opens the file to be read; None if it cannot be read
    here, which `unreadable` explains as the end of a sentence. `recorded` is its content, if it
    was decoded before.
    """

    node: str
    kind: OutputKind
    number: int
    name: str
    mime: str
    sha256: str
    open: Opener | None = None
    unreadable: str = ""
    recorded: Content | None = field(default=None, repr=False)

    @property
    def place(self) -> Place:
        return self.node, self.kind, self.number

    @property
    def title(self) -> str:
        """`Image 1 of node 6`."""
        return f"{self.kind.capitalize()} {self.number + 1} of node {self.node}"

    @cached_property
    def content(self) -> Content | None:
        """Its decoded content; None if it was not recorded and cannot be read here.

        Raises OSError.
        """
        if self.recorded is not None or self.open is None:
            return self.recorded
        return content_of(self.open, mime=self.mime, sha256=self.sha256)

    @property
    def suffix(self) -> str:
        """The end of its file's name, `.png`; empty for one that is not plain."""
        suffix = ".txt" if self.kind == "text" else PurePath(self.name).suffix.lower()
        return suffix if suffix[1:].isalnum() and suffix.isascii() and len(suffix) < 12 else ""


class _File(Reported):
    node: str
    filename: str
    mime: str
    sha256: str
    type: str
    path: str | None = None
    data: str | None = None


class _Text(Reported):
    node: str
    text: str


class _Result(Reported):
    images: list[_File]
    files: list[_File]
    text: list[_Text]


def outputs_of(result: Mapping[str, Any]) -> list[Output]:
    """The outputs in a result document, in its order. Raises InvalidInputError for another one."""
    try:
        read = _Result.model_validate(result)
    except ValidationError as error:
        raise InvalidInputError(
            f"the result cannot be used: {faults_in_words(error)}", remedy=_RUN_AGAIN
        ) from error
    counted: Counter[tuple[str, str]] = Counter()
    found = []
    named: Sequence[tuple[OutputKind, list[_File]]] = (("image", read.images), ("file", read.files))
    for kind, files in named:
        for file in files:
            found.append(_file_output(file, kind, counted[file.node, kind]))
            counted[file.node, kind] += 1
    for text in read.text:
        content = text.text.encode("utf-8", "surrogatepass")
        found.append(
            Output(
                node=text.node,
                kind="text",
                number=counted[text.node, "text"],
                name="text",
                mime="text/plain",
                sha256=hashlib.sha256(content).hexdigest(),
                open=lambda content=content: io.BytesIO(content),  # type: ignore[misc]
            )
        )
        counted[text.node, "text"] += 1
    return found


def _file_output(file: _File, kind: OutputKind, number: int) -> Output:
    return Output(
        node=file.node,
        kind=kind,
        number=number,
        name=file.filename,
        mime=file.mime,
        sha256=file.sha256,
        open=_opener(file),
        unreadable="it is in a bucket, where only its sha256 is known",
    )


def _opener(file: _File) -> Opener | None:
    if file.type == "file" and file.path is not None:
        path = Path(file.path)
        return lambda: path.open("rb")
    if file.type == "base64" and file.data is not None:
        try:
            content = base64.b64decode(file.data, validate=True)
        except (binascii.Error, ValueError) as error:
            fault = f"the result cannot be used: the data of {file.filename} is not base64"
            raise InvalidInputError(fault, remedy=_RUN_AGAIN) from error
        return lambda: io.BytesIO(content)
    return None
