"""Nodes that list their packages in other files than requirements.txt are reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from runpod_comfy.lock.requirements.read import listed_elsewhere

_OPTION = "options.requirements of the spec"


def _node(folder: Path, *files: str) -> Path:
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("einops\n")
    return folder


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (("install.py",), "install.py,"),
        (("requirements-no-cupy.txt",), "requirements-no-cupy.txt,"),
        (("requirements/base.txt", "notes.txt"), "requirements/base.txt,"),
        (
            ("install.py", "requirements-with-cupy.txt", "requirements-no-cupy.txt"),
            "install.py, requirements-no-cupy.txt, requirements-with-cupy.txt,",
        ),
    ],
)
def test_other_files_are_named_with_what_to_do(
    tmp_path: Path, files: tuple[str, ...], named: str
) -> None:
    note = listed_elsewhere("node:frames", _node(tmp_path, *files), runs_script=False) or ""
    assert note.startswith(f"node:frames has no requirements.txt but {named} not read")
    assert _OPTION in note
    assert ('"run_install_scripts": ["frames"]' in note) == ("install.py" in files)


@pytest.mark.parametrize(
    "files",
    [
        ("requirements.txt", "install.py", "requirements-dev.txt"),
        ("__init__.py", "notes.txt"),
        ("more/requirements-dev.txt",),
    ],
)
def test_nothing_is_said_of_other_nodes(tmp_path: Path, files: tuple[str, ...]) -> None:
    assert listed_elsewhere("node:n", _node(tmp_path, *files), runs_script=False) is None


def test_nothing_is_said_where_the_spec_runs_the_script(tmp_path: Path) -> None:
    folder = _node(tmp_path, "install.py", "requirements-no-cupy.txt")
    assert listed_elsewhere("node:n", folder, runs_script=True) is None


def test_odd_names_are_shown_safely(tmp_path: Path) -> None:
    note = listed_elsewhere("node:n", _node(tmp_path, "requirements\x1b[2J.txt"), runs_script=True)
    assert note is not None
    assert note.isprintable()
