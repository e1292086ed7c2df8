"""Local folders as trees."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError, MismatchError, UnavailableError
from runpod_comfy.sources.folder import FOLDER_EPOCH, FolderSource
from runpod_comfy.sources.tree import Surroundings, TreeRequest, pinned
from runpod_comfy.sources.tree_hash import tree_hash

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


def test_the_pin_is_the_tree_hash(folder: Path, surroundings: Surroundings) -> None:
    assert FolderSource().pin(REQUEST, surroundings) == tree_hash(folder)


def test_a_copy_with_the_same_content_is_fetched(folder: Path, surroundings: Surroundings) -> None:
    source = FolderSource()
    commit = source.pin(REQUEST, surroundings)
    fetched = source.fetch(pinned(REQUEST, commit), surroundings)
    assert fetched.tree_hash == commit == tree_hash(fetched.path)
    assert fetched.epoch == FOLDER_EPOCH
    assert sorted(item.name for item in fetched.path.iterdir()) == ["__init__.py", "link", "run.sh"]
    assert (fetched.path / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (fetched.path / "__init__.py").stat().st_mode & 0o777 == 0o644
    # It is a copy: writing into the folder does not reach the cache.
    (folder / "__init__.py").write_text("two\n")
    assert (fetched.path / "__init__.py").read_text() == "one\n"


def test_a_changed_folder_gives_its_pinned_copy_with_a_warning(
    folder: Path, surroundings: Surroundings, said: list[str]
) -> None:
    source = FolderSource()
    request = pinned(REQUEST, source.pin(REQUEST, surroundings))
    before = source.fetch(request, surroundings)
    assert said == []
    (folder / "__init__.py").write_text("two\n")
    assert source.fetch(request, surroundings) == before
    assert "has changed since it was pinned" in said[-1]
    subprocess.run(["rm", "-r", str(folder)], check=True)
    assert source.fetch(request, surroundings) == before
    assert "is gone; using its pinned copy" in said[-1]


def test_a_changed_folder_without_a_copy_is_a_mismatch(
    folder: Path, surroundings: Surroundings
) -> None:
    request = pinned(REQUEST, FolderSource().pin(REQUEST, surroundings))
    (folder / "__init__.py").write_text("two\n")
    with pytest.raises(MismatchError, match="has changed") as caught:
        FolderSource().fetch(request, surroundings)
    assert "runpod-comfy resolve" in caught.value.remedy


def test_a_pin_of_the_spec_is_confirmed(folder: Path, surroundings: Surroundings) -> None:
    source = FolderSource()
    request = pinned(REQUEST, source.pin(REQUEST, surroundings))
    assert source.pin(request, surroundings) == request.commit
    (folder / "__init__.py").write_text("two\n")
    with pytest.raises(MismatchError, match="has the content"):
        source.pin(request, surroundings)


@pytest.mark.parametrize("target", ["../outside", "/etc/passwd"])
def test_a_link_that_leads_out_is_refused(
    folder: Path, surroundings: Surroundings, target: str
) -> None:
    (folder / "out").symlink_to(target)
    with pytest.raises(InvalidInputError, match="leads out of the tree"):
        FolderSource().fetch(REQUEST, surroundings)


def test_a_missing_folder_and_a_file_are_told_apart(
    folder: Path, surroundings: Surroundings
) -> None:
    with pytest.raises(UnavailableError, match="is not there"):
        FolderSource().pin(TreeRequest(repo="nodes/gone"), surroundings)
    with pytest.raises(InvalidInputError, match="is a file, not a folder"):
        FolderSource().pin(TreeRequest(repo="nodes/mine/run.sh"), surroundings)


def test_it_needs_no_network(folder: Path, surroundings: Surroundings) -> None:
    offline = replace(surroundings, offline=True)
    assert FolderSource().fetch(REQUEST, offline).path.is_dir()


def test_a_subdir_is_a_tree_of_its_own(folder: Path, surroundings: Surroundings) -> None:
    (folder / "inner").mkdir()
    (folder / "inner" / "file").write_text("x")
    fetched = FolderSource().fetch(replace(REQUEST, subdir="inner"), surroundings)
    assert [item.name for item in fetched.path.iterdir()] == ["file"]
