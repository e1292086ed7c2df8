"""Folders stay small, and each says what belongs there and what does not."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[2] / "src"
FOLDERS = sorted({path.parent for path in SRC.rglob("*.py")})


def _name(folder: Path) -> str:
    return folder.relative_to(SRC).as_posix()


def test_the_folders_are_found() -> None:
    assert {"rp_handler/engine", "runpod_comfy/homes"} <= {_name(folder) for folder in FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS, ids=_name)
def test_a_folder_has_at_most_fifteen_modules(folder: Path) -> None:
    assert len(list(folder.glob("*.py"))) <= 15


@pytest.mark.parametrize("folder", FOLDERS, ids=_name)
def test_a_folder_says_what_belongs_there_and_what_does_not(folder: Path) -> None:
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    assert text is not None
    paragraphs = text.split("\n\n")
    assert len(paragraphs) >= 2, "the first paragraph says what belongs there, the second what not"
