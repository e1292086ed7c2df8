from __future__ import annotations

import contextvars
import hashlib
import os
import threading
from pathlib import Path

import pytest

from comfy_files.parallel import give_up_with
from comfy_home.manifest import ManifestModel
from comfy_models.store import ModelStore
from comfy_models.verify import HashMemory, fault_of, holds_model

RIGHT = b"right"
MODEL = ManifestModel(
    target_path="vae/x.pth", sha256=hashlib.sha256(RIGHT).hexdigest(), size=len(RIGHT)
)


def fault(path: Path, *, always_hash: bool = False, memory: HashMemory | None = None) -> str | None:
    return fault_of(path, MODEL, memory or HashMemory(()), always_hash=always_hash)


def test_the_right_bytes_have_no_fault_and_are_remembered(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(RIGHT)
    memory = HashMemory(())
    assert fault(tmp_path / "m", memory=memory) is None
    assert memory.recall(tmp_path / "m") == MODEL.sha256


def test_every_fault_is_reported_in_plain_words(tmp_path: Path) -> None:
    assert fault(tmp_path / "none") == "does not exist"
    assert fault(tmp_path) == "is not a file"
    (tmp_path / "lost").symlink_to("nowhere")
    assert fault(tmp_path / "lost") == "links to nowhere, which does not exist"
    (tmp_path / "short").write_bytes(b"r")
    assert fault(tmp_path / "short") == "has 1 bytes, not 5"
    (tmp_path / "other").write_bytes(b"wrong")
    other = hashlib.sha256(b"wrong").hexdigest()
    assert fault(tmp_path / "other") == f"has sha256 {other}, not {MODEL.sha256}"


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
        assert holds_model(path, MODEL)
        assert fault(path, always_hash=True) is not None


def test_reading_can_be_stopped(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(RIGHT)
    given_up = threading.Event()
    given_up.set()

    def read() -> None:
        give_up_with(given_up)
        with pytest.raises(KeyboardInterrupt):
            fault(tmp_path / "m")

    contextvars.copy_context().run(read)


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


def test_a_changed_file_is_not_known(tmp_path: Path, model: Path) -> None:
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
