"""Local folders as trees."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError, MismatchError, UnavailableError
from comfy_home.tree_hash import tree_hash
from runpod_comfy.cache.tree import FIRST_TIME_S, FetchContext, TreeRequest
from runpod_comfy.cache.tree_files import tree_state
from runpod_comfy.sources.folder import FolderSource

REQUEST = TreeRequest(repo="nodes/mine")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "nodes" / "mine"
    (folder / "__pycache__").mkdir(parents=True)
    (folder / "__pycache__" / "x.pyc").write_text("x")
    (folder / "__init__.py").write_text("one\n")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o700)
    (folder / "link").symlink_to("run.sh")
    return folder


def test_the_pin_is_the_tree_hash(folder: Path, fetch_context: FetchContext) -> None:
    assert FolderSource().pin(REQUEST, fetch_context) == tree_hash(folder)


def test_a_copy_with_the_same_content_is_fetched(folder: Path, fetch_context: FetchContext) -> None:
    source = FolderSource()
    commit = source.pin(REQUEST, fetch_context)
    fetched = source.fetch(replace(REQUEST, commit=commit), fetch_context)
    assert fetched.tree_hash == commit == tree_hash(fetched.path)
    assert fetched.epoch == FIRST_TIME_S
    assert sorted(item.name for item in fetched.path.iterdir()) == ["__init__.py", "link", "run.sh"]
    assert (fetched.path / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (fetched.path / "__init__.py").stat().st_mode & 0o777 == 0o644
    # It is a copy: writing into the folder does not reach the cache.
    (folder / "__init__.py").write_text("two\n")
    assert (fetched.path / "__init__.py").read_text() == "one\n"


def test_a_changed_folder_gives_its_pinned_copy(folder: Path, fetch_context: FetchContext) -> None:
    source = FolderSource()
    request = replace(REQUEST, commit=source.pin(REQUEST, fetch_context))
    before = source.fetch(request, fetch_context)
    (folder / "__init__.py").write_text("two\n")
    assert source.fetch(request, fetch_context) == before
    shutil.rmtree(folder)
    assert source.fetch(request, fetch_context) == before


def test_a_changed_folder_without_a_copy_is_a_mismatch(
    folder: Path, fetch_context: FetchContext
) -> None:
    request = replace(REQUEST, commit=FolderSource().pin(REQUEST, fetch_context))
    (folder / "__init__.py").write_text("two\n")
    with pytest.raises(MismatchError, match="has changed") as caught:
        FolderSource().fetch(request, fetch_context)
    assert "--update" in caught.value.remedy


def test_a_pin_of_the_spec_is_confirmed(folder: Path, fetch_context: FetchContext) -> None:
    source = FolderSource()
    request = replace(REQUEST, commit=source.pin(REQUEST, fetch_context))
    assert source.pin(request, fetch_context) == request.commit
    (folder / "__init__.py").write_text("two\n")
    with pytest.raises(MismatchError, match="has the content"):
        source.pin(request, fetch_context)


@pytest.mark.parametrize("target", ["../outside", "/etc/passwd"])
def test_a_link_that_leads_out_is_refused(
    folder: Path, fetch_context: FetchContext, target: str
) -> None:
    (folder / "out").symlink_to(target)
    with pytest.raises(InvalidInputError, match="leads outside the tree"):
        FolderSource().fetch(REQUEST, fetch_context)


def test_a_missing_folder_and_a_file_are_distinguished(
    folder: Path, fetch_context: FetchContext
) -> None:
    with pytest.raises(UnavailableError, match="does not exist"):
        FolderSource().pin(TreeRequest(repo="nodes/gone"), fetch_context)
    with pytest.raises(InvalidInputError, match="is a file, not a folder"):
        FolderSource().pin(TreeRequest(repo="nodes/mine/run.sh"), fetch_context)


def test_it_needs_no_network(folder: Path, fetch_context: FetchContext) -> None:
    offline = replace(fetch_context, offline=True)
    assert FolderSource().fetch(REQUEST, offline).path.is_dir()


def test_a_subdir_is_a_tree_of_its_own(folder: Path, fetch_context: FetchContext) -> None:
    (folder / "inner").mkdir()
    (folder / "inner" / "file").write_text("x")
    fetched = FolderSource().fetch(replace(REQUEST, subdir="inner"), fetch_context)
    assert [item.name for item in fetched.path.iterdir()] == ["file"]


def test_a_python_file_is_a_tree_with_that_file_as_its_package(
    tmp_path: Path, fetch_context: FetchContext
) -> None:
    file = tmp_path / "nodes" / "mine.py"
    file.parent.mkdir()
    file.write_text("one\n")
    request = TreeRequest(repo="nodes/mine.py")
    commit = FolderSource().pin(request, fetch_context)
    fetched = FolderSource().fetch(replace(request, commit=commit), fetch_context)
    assert fetched.tree_hash == commit == tree_hash(fetched.path)
    assert {path.name: path.read_text() for path in fetched.path.iterdir()} == {
        "__init__.py": "one\n"
    }
    before = tree_state(file)
    file.write_text("two\n")
    assert FolderSource().pin(request, fetch_context) != commit
    assert tree_state(file).digest != before.digest


def test_another_file_is_no_tree(tmp_path: Path, fetch_context: FetchContext) -> None:
    (tmp_path / "mine.txt").write_text("one\n")
    with pytest.raises(InvalidInputError, match="mine.txt is a file, not a folder"):
        FolderSource().pin(TreeRequest(repo="mine.txt"), fetch_context)
