from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfy_files.files import can_write


def test_a_folder_that_is_still_to_be_made_counts_as_its_parent(tmp_path: Path) -> None:
    assert can_write(tmp_path / "a/b")
    assert not (tmp_path / "a").exists()


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert not can_write(tmp_path / "file")
    assert not can_write(tmp_path / "file/below")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        assert not can_write(tmp_path / "below")
    finally:
        tmp_path.chmod(0o755)
