"""The table of docs/environment.md has every variable that the programs read, and no others."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.docs.documents import ROOT

# Those of this project, and of the services that it uses; not those of pip, uv and git.
_OURS = re.compile(
    r"(?:AWS|BUCKET|CIVITAI|COMFY|DOCKER|GCS|GOOGLE|HF|HUGGING_FACE|RUNPOD|STORAGE|TORCH)_[A-Z0-9_]+"
    r"|LOCK_PATH|MODELS_DIR|OUTPUT_MODE"
)
NOT_FOR_USERS = {
    "COMFY_BAKED_HOME",  # an image names its own home to its handler
    "HF_HUB_DISABLE_TELEMETRY",  # the handler sets it for its engine
    "RUNPOD_POD_ID",  # RunPod sets it
    "RUNPOD_WEBHOOK_GET_JOB",  # RunPod sets it
}
_TABLE = (
    (ROOT / "docs" / "environment.md")
    .read_text()
    .partition("## Variables")[2]
    .partition("\n## ")[0]
)


def _first_cells() -> Iterator[str]:
    """The names in the first column, in order."""
    for row in re.findall(r"^\| (.+?) \|", _TABLE, re.MULTILINE):
        yield from re.findall(r"`([A-Z0-9_]+)`", row)


def _named_in_code() -> Iterator[str]:
    """The literals that are names of variables, whatever then reads them."""
    for path in (ROOT / "src").rglob("*.py"):
        for one in ast.walk(ast.parse(path.read_text())):
            if isinstance(one, ast.Constant) and isinstance(one.value, str):
                yield from _OURS.findall(one.value) if _OURS.fullmatch(one.value) else ()


def test_it_has_every_variable_that_the_programs_read() -> None:
    assert set(_named_in_code()) - NOT_FOR_USERS <= set(_first_cells())


def test_it_has_no_variable_that_nothing_reads() -> None:
    programs = [
        *(ROOT / "src").rglob("*.py"),
        *(ROOT / "images").rglob("*.sh"),
        *(ROOT / "scripts").glob("*.sh"),
    ]
    text = "\n".join(path.read_text() for path in programs)
    assert [name for name in _first_cells() if not re.search(rf"\b{name}\b", text)] == []


def test_it_has_each_variable_once_with_what_it_means() -> None:
    names = list(_first_cells())
    assert len(names) == len(set(names))
    rows = [row.split(" | ") for row in re.findall(r"^\| `.+$", _TABLE, re.MULTILINE)]
    assert len(rows) > 40
    assert [row for row in rows if len(row) != 3 or not row[1].strip()] == []
