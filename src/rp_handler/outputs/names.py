"""The names of outputs in a bucket: those of a job that is run again are the same."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime
from pathlib import PurePath

DEFAULT_PREFIX = "comfy/outputs"

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")
_LONGEST_ID = 200


def run_name(workflow_name: str) -> str:
    """A name for a run of the command line, never repeated: UTC time, workflow, random id."""
    now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return f"{now}-{workflow_name}-{uuid.uuid4().hex[:8]}"


def object_name(prefix: str, version_id: str | None, job: str, place: PurePath) -> str:
    """`<prefix>/<version>/<job>/<file>`; `job` is an id of the platform's or `run_name`."""
    safe = _NOT_IN_NAMES.sub("_", job)[:_LONGEST_ID].strip(".") or "_"
    return "/".join(filter(None, (prefix, version_id, safe, place.as_posix())))


def next_name(name: str) -> str:
    """`x_00002_.png` for `x_00001_.png`, and `x_2.png` for `x.png`."""
    stem, suffix = PurePath(name).stem, PurePath(name).suffix
    *_, number = [None, *re.finditer(r"\d+", stem)]
    if number is None:
        return f"{stem}_2{suffix}"
    following = str(int(number[0]) + 1).zfill(len(number[0]))
    return f"{stem[: number.start()]}{following}{stem[number.end() :]}{suffix}"
