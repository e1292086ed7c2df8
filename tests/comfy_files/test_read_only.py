from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfy_files.read_only import make_read_only, remove_tree
from tests.ordinary_user import as_ordinary_user, users_folder


def _tree(top: Path) -> Path:
    (top / "a/b").mkdir(parents=True)
    for inner in ("one", "a/two", "a/b/three"):
        (top / inner).write_text(inner)
    (top / "a/link").symlink_to("two")
    return top


place = pytest.fixture(users_folder)


def test_all_but_the_top_folder_is_made_read_only(tmp_path: Path) -> None:
    top = _tree(tmp_path / "top")
    make_read_only(top)
    modes = {path: path.stat().st_mode & 0o222 for path in (top, *top.rglob("*"))}
    assert [path for path, mode in modes.items() if mode] == [top]


def test_an_ordinary_user_removes_a_read_only_tree(place: Path) -> None:
    top = _tree(place / "top")
    shared = place / "shared"
    os.link(top / "a/two", shared)
    make_read_only(top)
    mode = shared.stat().st_mode
    as_ordinary_user(lambda: remove_tree(top), place)
    assert not top.exists()
    assert shared.stat().st_mode == mode


def test_a_tree_that_is_gone_is_no_error(tmp_path: Path) -> None:
    remove_tree(tmp_path / "nothing")


def test_what_cannot_be_removed_is_reported(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(NotADirectoryError):
        remove_tree(file)
    remove_tree(file, ignore_errors=True)
    assert file.exists()
