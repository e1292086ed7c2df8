from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from comfy_models.memory import HashMemory
from comfy_models.search import NeededModel
from comfy_models.store import ModelStore
from comfy_models.verify import StoppedError, fault_of

RIGHT = b"right"
MODEL = NeededModel(
    target_path="vae/x.pth", sha256=hashlib.sha256(RIGHT).hexdigest(), size_bytes=len(RIGHT)
)


def fault(path: Path, *, always_hash: bool = False, memory: HashMemory | None = None) -> str | None:
    memory = memory or HashMemory(())
    return fault_of(path, MODEL, memory, always_hash=always_hash, stopped=lambda: False)


def test_the_right_bytes_have_no_fault_and_are_remembered(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(RIGHT)
    memory = HashMemory(())
    assert fault(tmp_path / "m", memory=memory) is None
    assert memory.recall(tmp_path / "m") == MODEL.sha256


def test_every_fault_is_told_in_words(tmp_path: Path) -> None:
    assert fault(tmp_path / "none") == "is not there"
    assert fault(tmp_path) == "is not a file"
    (tmp_path / "lost").symlink_to("nowhere")
    assert fault(tmp_path / "lost") == "leads to nowhere, which is not there"
    (tmp_path / "short").write_bytes(b"r")
    assert fault(tmp_path / "short") == "has 1 bytes, not 5"
    (tmp_path / "other").write_bytes(b"wrong")
    other = hashlib.sha256(b"wrong").hexdigest()
    assert fault(tmp_path / "other") == f"has the sha256 {other}, not {MODEL.sha256}"


def test_a_remembered_file_is_not_read_unless_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(b"wrong")
    memory = HashMemory(())
    memory.remember(path, MODEL.sha256)
    assert fault(path, memory=memory) is None
    assert fault(path, memory=memory, always_hash=True) is not None


def test_a_store_vouches_for_its_files_also_through_a_link(tmp_path: Path) -> None:
    stored = ModelStore(tmp_path).path_of(MODEL.sha256)
    stored.parent.mkdir(parents=True)
    stored.write_bytes(b"wrong")
    (tmp_path / "link").symlink_to(stored)
    for path in (stored, tmp_path / "link"):
        assert fault(path) is None
        assert fault(path, always_hash=True) is not None


def test_reading_can_be_stopped(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(RIGHT)
    with pytest.raises(StoppedError):
        fault_of(tmp_path / "m", MODEL, HashMemory(()), always_hash=False, stopped=lambda: True)
