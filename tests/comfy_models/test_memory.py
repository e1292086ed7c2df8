from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfy_models.memory import HashMemory


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.pth"
    path.write_bytes(b"abc")
    return path


def test_what_was_hashed_is_known_at_the_next_start(tmp_path: Path, model: Path) -> None:
    memory = HashMemory([tmp_path / "memory"])
    assert memory.recall(model) is None
    memory.remember(model, "x")
    memory.save()
    assert HashMemory([tmp_path / "memory"]).recall(model) == "x"


def test_a_changed_file_is_a_stranger(tmp_path: Path, model: Path) -> None:
    memory = HashMemory([tmp_path / "memory"])
    memory.remember(model, "x")
    before = model.stat()
    model.write_bytes(b"abd")
    os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert memory.recall(model) is None


def test_the_old_state_of_a_file_is_forgotten_and_other_files_are_kept(
    tmp_path: Path, model: Path
) -> None:
    other = tmp_path / "other.pth"
    other.write_bytes(b"other")
    place = tmp_path / "memory"
    for path, sha256 in ((model, "x"), (other, "y")):
        memory = HashMemory([place])
        memory.remember(path, sha256)
        memory.save()
    model.write_bytes(b"abcd")
    memory = HashMemory([place])
    memory.remember(model, "z")
    memory.save()
    assert HashMemory([place]).recall(model) == "z"
    assert HashMemory([place]).recall(other) == "y"
    assert place.read_text(encoding="utf-8").count('": "') == 2


def test_where_nothing_can_be_written_it_is_kept_in_the_next_place(
    tmp_path: Path, model: Path
) -> None:
    places = [tmp_path / "none/memory", tmp_path / "memory"]
    memory = HashMemory(places)
    memory.remember(model, "x")
    memory.save()
    assert HashMemory(places).recall(model) == "x"
    HashMemory([tmp_path / "none/memory"]).save()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"files": 3}', '{"other": {}}'])
def test_a_broken_memory_knows_nothing(tmp_path: Path, model: Path, text: str) -> None:
    (tmp_path / "memory").write_text(text, encoding="utf-8")
    memory = HashMemory([tmp_path / "memory"])
    assert memory.recall(model) is None
    memory.remember(model, "x")
    memory.save()
    assert HashMemory([tmp_path / "memory"]).recall(model) == "x"
