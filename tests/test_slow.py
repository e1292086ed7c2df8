"""What needs an engine or a real ComfyUI is slow by rule, and not run by `make test-fast`."""

from __future__ import annotations

import re

from tests.slow import TESTS, is_slow


def test_every_folder_that_pants_keeps_from_make_test_is_slow() -> None:
    tagged = [
        build.parent
        for build in TESTS.rglob("BUILD")
        if re.search(r'^    tags=\["docker"\]', build.read_text(), re.MULTILINE)
    ]
    assert len(tagged) >= 2
    for folder in tagged:
        assert is_slow(folder / "test_any.py", ())


def test_a_test_with_a_real_comfyui_is_slow() -> None:
    assert is_slow(TESTS / "integration" / "test_demo.py", ())
    assert is_slow(TESTS / "runpod_comfy" / "cache" / "test_tree_files.py", {"comfy_git"})


def test_other_tests_are_fast() -> None:
    assert not is_slow(TESTS / "runpod_comfy" / "cache" / "test_tree.py", {"cache", "tmp_path"})
