"""A workflow's baseline: the hashes of what it made once, to compare with what it makes now."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from comfy_errors import InvalidInputError, UnavailableError
from comfy_files.atomic import replace_file

BASELINE_SCHEMA: Final = "runpod-comfy/baseline/1"

OutputKind = Literal["image", "file", "text"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class OutputHash(_Strict):
    """One output: the sha256 (64 hex digits) of its bytes, for a text of its UTF-8 bytes.

    It is number `number`, from 0, of the outputs of its kind that the node `node` made. File
    names are not part of it: ComfyUI draws those of previews at random.
    """

    node: str
    kind: OutputKind
    number: int
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Baseline(_Strict):
    """A baseline file. `lock` is the digest of the lock with which it was recorded."""

    schema_tag: Literal["runpod-comfy/baseline/1"] = Field(alias="schema")
    lock: str | None
    outputs: list[OutputHash]


def output_hashes(result: Mapping[str, Any]) -> list[OutputHash]:
    """The hashes of a job's output document (`images`, `files`, `text`), in a stable order."""
    found: list[tuple[str, OutputKind, str]] = []
    found += [(one["node"], "image", one["sha256"]) for one in result["images"]]
    found += [(one["node"], "file", one["sha256"]) for one in result["files"]]
    found += [
        (one["node"], "text", hashlib.sha256(one["text"].encode()).hexdigest())
        for one in result["text"]
    ]
    counted: Counter[tuple[str, OutputKind]] = Counter()
    hashes = []
    for node, kind, sha256 in found:
        hashes.append(OutputHash(node=node, kind=kind, number=counted[node, kind], sha256=sha256))
        counted[node, kind] += 1
    return sorted(hashes, key=_place)


def record(result: Mapping[str, Any], *, lock_digest: str | None) -> Baseline:
    """The baseline that says: with this lock, the workflow makes what `result` holds."""
    return Baseline(schema=BASELINE_SCHEMA, lock=lock_digest, outputs=output_hashes(result))


def compare(baseline: Baseline, result: Mapping[str, Any], *, lock_digest: str | None) -> list[str]:
    """How `result` differs from `baseline`, a sentence for each difference; empty if it does not.

    A different lock with the same outputs is no difference; with other outputs it is told first.
    """
    now = {_place(one): one.sha256 for one in output_hashes(result)}
    then = {_place(one): one.sha256 for one in baseline.outputs}
    differences = []
    for place in sorted(then.keys() | now.keys()):
        before, after = then.get(place), now.get(place)
        if before is None:
            differences.append(f"{_words(place)} is new.")
        elif after is None:
            differences.append(f"{_words(place)} is gone.")
        elif before != after:
            differences.append(f"{_words(place)} was sha256 {before} and is now {after}.")
    if differences and baseline.lock != lock_digest:
        differences.insert(
            0, f"The baseline was recorded with the lock {baseline.lock}, this is {lock_digest}."
        )
    return differences


def load_baseline(path: Path) -> Baseline:
    """The baseline at `path`. Raises UnavailableError or InvalidInputError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UnavailableError(
            f"There is no baseline at {path}.", remedy="Give the path of a baseline file."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"The baseline {path} cannot be read: {error}.", remedy="Mend it, or take it away."
        ) from error
    try:
        return Baseline.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInputError(
            f"{path} is not a baseline that this program can read: "
            f"{where + ': ' if where else ''}{first['msg']}.",
            remedy="Mend it, or take it away.",
        ) from error


def save_baseline(path: Path, baseline: Baseline) -> None:
    """Writes `baseline` to `path` atomically, with sorted keys and a final newline."""
    document = baseline.model_dump(mode="json", by_alias=True)
    replace_file(path, f"{json.dumps(document, indent=2, sort_keys=True)}\n".encode())


Place = tuple[str, OutputKind, int]


def _place(one: OutputHash) -> Place:
    return one.node, one.kind, one.number


def _words(place: Place) -> str:
    node, kind, number = place
    return f"{kind.capitalize()} {number + 1} of node {node}"
