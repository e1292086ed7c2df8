from __future__ import annotations

import contextvars
import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from comfy_files.parallel import give_up_with
from comfy_home.manifest import ManifestModel
from comfy_models.store import ModelStore
from comfy_models.verify import HashMemory, fault_of

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


SHA256_X, SHA256_Y, SHA256_Z = ("1" * 64, "2" * 64, "3" * 64)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.pth"
    path.write_bytes(b"abc")
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "memory"


def save(place: Path, path: Path, sha256: str) -> None:
    memory = HashMemory([place])
    memory.remember(path, sha256)
    memory.save()


def test_what_was_hashed_is_known_at_the_next_start(place: Path, model: Path) -> None:
    assert HashMemory([place]).recall(model) is None
    save(place, model, SHA256_X)
    assert HashMemory([place]).recall(model) == SHA256_X


def test_a_changed_file_is_not_known(tmp_path: Path, model: Path) -> None:
    memory = HashMemory([tmp_path / "memory"])
    memory.remember(model, SHA256_X)
    before = model.stat()
    model.write_bytes(b"abd")
    os.utime(model, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert memory.recall(model) is None


def test_a_file_that_changes_while_it_is_hashed_is_not_remembered(
    tmp_path: Path, model: Path
) -> None:
    memory = HashMemory([tmp_path / "memory"])

    def change(_count: int) -> None:
        model.write_bytes(b"abcd")

    memory.hash_of(model, counted=change)
    assert memory.recall(model) is None


def test_a_later_state_of_a_file_counts_and_other_files_are_kept(
    tmp_path: Path, place: Path, model: Path
) -> None:
    other = tmp_path / "other.pth"
    other.write_bytes(b"other")
    save(place, model, SHA256_X)
    save(place, other, SHA256_Y)
    model.write_bytes(b"abcd")
    save(place, model, SHA256_Z)
    assert HashMemory([place]).recall(model) == SHA256_Z
    assert HashMemory([place]).recall(other) == SHA256_Y


def test_outdated_states_do_not_pile_up(place: Path, model: Path) -> None:
    save(place, model, SHA256_X)
    line = place.read_bytes().strip()
    place.write_bytes(b"".join(line[:-1] + b"%d\n" % number for number in range(3000)))
    save(place, model, SHA256_Y)
    assert place.stat().st_size < 1000
    assert HashMemory([place]).recall(model) == SHA256_Y


def test_where_nothing_can_be_written_it_is_kept_in_the_next_place(
    tmp_path: Path, model: Path
) -> None:
    places = [tmp_path / "none/memory", tmp_path / "memory"]
    memory = HashMemory(places)
    memory.remember(model, SHA256_X)
    memory.save()
    assert HashMemory(places).recall(model) == SHA256_X
    HashMemory([tmp_path / "none/memory"]).save()


def test_an_entry_is_kept_above_its_file_so_that_others_who_mount_that_folder_know_it(
    tmp_path: Path,
) -> None:
    store, models = tmp_path / "store", tmp_path / "models"
    for folder in (store, models):
        folder.mkdir()
    model = models / "m.pth"
    model.write_bytes(b"abc")
    memory = HashMemory([store / "memory", models / "memory"])
    memory.remember(model, SHA256_X)
    memory.save()
    assert HashMemory([models / "memory"]).recall(model) == SHA256_X
    assert not (store / "memory").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[" * 100_000,
        b'{"files": {"1:2:3:4:5": "x"}}',
        b"\xff\xfe\0" * 1000,
        b"no line ends here",
        b"1" * 64 + b" " + b"9" * 5000 + b":1:1:1:1\n",
    ],
)
def test_a_broken_memory_knows_nothing_and_is_used_all_the_same(
    place: Path, model: Path, content: bytes
) -> None:
    place.write_bytes(content)
    assert HashMemory([place]).recall(model) is None
    save(place, model, SHA256_X)
    assert HashMemory([place]).recall(model) == SHA256_X


def test_a_memory_that_is_no_file_of_its_own_is_left_alone(tmp_path: Path, model: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "link").symlink_to("precious")
    (tmp_path / "folder").mkdir()
    places = [tmp_path / name for name in ("pipe", "link", "folder")]
    memory = HashMemory(places)
    memory.remember(model, SHA256_X)
    memory.save()
    assert HashMemory(places).recall(model) is None
    assert (tmp_path / "precious").read_bytes() == b"precious"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_memory_that_another_user_put_there_is_not_believed(place: Path, model: Path) -> None:
    save(place, model, SHA256_X)
    os.chown(place, 12345, -1)
    assert HashMemory([place]).recall(model) is None


_WRITER = """\
import sys
from pathlib import Path
from comfy_models.verify import HashMemory
memory = HashMemory([Path(sys.argv[1])])
for name in sys.argv[2:]:
    memory.remember(Path(name), "4" * 64)
    memory.save()
"""


def test_processes_that_save_at_once_lose_nothing(tmp_path: Path, place: Path) -> None:
    files = [tmp_path / f"{number}.pth" for number in range(60)]
    for file in files:
        file.touch()
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, place, *files[first::3]],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for first in range(3)
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    memory = HashMemory([place])
    assert {memory.recall(file) for file in files} == {"4" * 64}
