from __future__ import annotations

from pathlib import Path

import pytest

from comfy_files.files import can_write
from tests.ordinary_user import as_ordinary_user, users_folder

place = pytest.fixture(users_folder)


def test_a_folder_that_is_still_to_be_made_counts_as_its_parent(tmp_path: Path) -> None:
    assert can_write(tmp_path / "a/b")
    assert not (tmp_path / "a").exists()


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert not can_write(tmp_path / "file")
    assert not can_write(tmp_path / "file/below")


def test_a_folder_without_permission_cannot_be_written(place: Path) -> None:
    place.chmod(0o555)

    def look() -> None:
        assert not can_write(place / "below")

    as_ordinary_user(look, place)
