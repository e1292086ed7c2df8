"""Folders of a lock that were edited, taken away or cannot be read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.lock.drift.folders import locked_folders
from runpod_comfy.lock.model import Lock
from tests.locks import bare_lock, locked_node, locked_tree, node


@pytest.fixture
def lock(fetch_context: FetchContext) -> Lock:
    """A core and a node that are folders, and a node from git."""
    for name in ("core", "painter"):
        folder = fetch_context.base_dir / name
        folder.mkdir(parents=True)
        (folder / "main.py").write_text("1")
    return bare_lock(
        comfy=locked_tree(fetch_context.base_dir / "core"),
        custom_nodes=[node("brush", "2"), locked_node(fetch_context.base_dir / "painter")],
    )


def _changed(lock: Lock, fetch_context: FetchContext) -> list[str]:
    return [each.name for each in locked_folders(lock, fetch_context) if each.is_changed()]


def test_only_folders_are_looked_at_and_their_paths_are_from_the_specs_folder(
    lock: Lock, fetch_context: FetchContext
) -> None:
    base_dir = fetch_context.base_dir
    paths = {each.name: each.path for each in locked_folders(lock, fetch_context)}
    assert paths == {"core": base_dir / "core", "painter": base_dir / "painter"}
    assert _changed(lock, fetch_context) == []


@pytest.mark.parametrize(
    ("change", "is_gone"),
    [
        (lambda folder: (folder / "main.py").write_text("2"), False),
        (lambda folder: os.mkfifo(folder / "pipe"), False),
        (shutil.rmtree, True),
    ],
)
def test_a_folder_with_other_content_is_changed(
    lock: Lock, fetch_context: FetchContext, change: Callable[[Path], object], is_gone: bool
) -> None:
    change(fetch_context.base_dir / "painter")
    assert _changed(lock, fetch_context) == ["painter"]
    painter = locked_folders(lock, fetch_context)[1]
    warning = painter.warning("runpod-comfy realize small --update")
    assert warning.startswith(f"Warning: painter: {painter.path} ")
    assert painter.is_gone == is_gone
    assert ("realize small --update" in warning) != is_gone


def test_folders_of_a_version_from_a_bundle_stayed_where_they_were(
    lock: Lock, fetch_context: FetchContext
) -> None:
    loaded = replace(fetch_context, base_dir=fetch_context.cache.loaded)
    assert locked_folders(lock, loaded) == []


def test_a_python_file_is_looked_at_like_a_folder(lock: Lock, fetch_context: FetchContext) -> None:
    file = fetch_context.base_dir / "brush.py"
    file.write_text("1")
    one = lock.model_copy(update={"custom_nodes": [locked_node(file)]})
    assert _changed(one, fetch_context) == []
    file.write_text("2")
    assert _changed(one, fetch_context) == ["brush.py"]
    file.unlink()
    assert [each.is_gone for each in locked_folders(one, fetch_context)] == [False, True]
