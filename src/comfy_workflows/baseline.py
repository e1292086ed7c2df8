"""A workflow's baseline: the hashes of its recorded outputs, to compare with a new run."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from comfy_files.json_file import read_model

OutputKind = Literal["image", "file", "text"]
# The node, the kind, and the index among that node's outputs of that kind.
Place = tuple[str, OutputKind, int]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class OutputHash(_Strict):
    """One output: the sha256 (64 hex digits) of its bytes; for text, of its UTF-8 bytes.

    `number` counts, from 0, the outputs of its kind that `node` made. File names are not included:
    ComfyUI names previews at random.
    """

    node: str
    kind: OutputKind
    number: int
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Baseline(_Strict):
    """A baseline file. `lock` is the digest of the lock that it was recorded with."""

    schema_tag: Literal["runpod-comfy/baseline/1"] = Field(alias="schema")
    lock: str | None
    outputs: list[OutputHash]


def output_hashes(result: Mapping[str, Any]) -> dict[Place, str]:
    """The sha256 of each output in a job's document (`images`, `files`, `text`), by its place."""
    found: list[tuple[str, OutputKind, str]] = [
        *((one["node"], "image", one["sha256"]) for one in result["images"]),
        *((one["node"], "file", one["sha256"]) for one in result["files"]),
        *(
            (one["node"], "text", hashlib.sha256(one["text"].encode()).hexdigest())
            for one in result["text"]
        ),
    ]
    hashes: dict[Place, str] = {}
    counted: Counter[tuple[str, OutputKind]] = Counter()
    for node, kind, sha256 in found:
        hashes[node, kind, counted[node, kind]] = sha256
        counted[node, kind] += 1
    return hashes


def compare(baseline: Baseline, result: Mapping[str, Any], *, lock_digest: str | None) -> list[str]:
    """How `result` differs from `baseline`, one sentence per difference; empty if it does not.

    A different lock with identical outputs is not a difference; if the outputs differ, it is
    reported first.
    """
    now = output_hashes(result)
    then = {(one.node, one.kind, one.number): one.sha256 for one in baseline.outputs}
    differences = []
    for place in sorted(then.keys() | now.keys()):
        node, kind, number = place
        before, after = then.get(place), now.get(place)
        change = f"had sha256 {before}, now has {after}"
        if before is None or after is None:
            change = "is new" if before is None else "is missing"
        if before != after:
            differences.append(f"{kind.capitalize()} {number + 1} of node {node} {change}.")
    if differences and baseline.lock != lock_digest:
        differences.insert(
            0,
            f"The baseline was recorded with lock {baseline.lock}; this run uses {lock_digest}.",
        )
    return differences


def load_baseline(path: Path) -> Baseline:
    """The baseline at `path`. Raises UnavailableError or InvalidInputError."""
    return read_model(path, Baseline, "baseline", remedy="Correct it, or delete it.")
