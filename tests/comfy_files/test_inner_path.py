from __future__ import annotations

import pytest

from comfy_files.inner_path import check_inner_file, check_inner_path


@pytest.mark.parametrize("path", ["a", "a/b", "a/b.safetensors", "ä/b", ".a"])
def test_a_path_inside_the_folder_is_taken(path: str) -> None:
    assert check_inner_path(path) == check_inner_file(path) == path


@pytest.mark.parametrize("path", ["../a", "a/../b", "/a", "C:/a", "a\\b", "a\nb", "a\x7f", "", "."])
def test_a_path_that_could_lead_out_of_the_folder_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="must be a"):
        check_inner_path(path)


@pytest.mark.parametrize("path", ["a" * 256, "/".join(["a" * 200] * 6)])
def test_a_path_that_no_system_has_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="must not"):
        check_inner_path(path)


def test_a_file_has_no_slash_at_its_end() -> None:
    assert check_inner_path("a/") == "a"
    with pytest.raises(ValueError, match="must not end in a slash"):
        check_inner_file("a/")
