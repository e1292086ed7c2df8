"""Hashes of trees; what git makes of them is in tests/runpod_comfy/cache/test_tree_files.py."""

from __future__ import annotations

from pathlib import Path

from comfy_home.tree_hash import tree_hash


def test_paths_can_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x").write_text("x")
    (tmp_path / "b").mkdir()
    whole = tree_hash(tmp_path)
    (tmp_path / "a/y").write_text("y")
    (tmp_path / "b/z").write_text("z")
    (tmp_path / "link").symlink_to("a/x")
    added = {tmp_path / "a/y", tmp_path / "b", tmp_path / "link"}
    assert tree_hash(tmp_path, without=added) == whole
    assert tree_hash(tmp_path) != whole
