"""A file is replaced as a whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from pathlib import Path

import pytest

from comfy_errors import OperationFailedError
from comfy_files.files import disk_errors, nearest_existing, os_reason, replace_file
from tests.program import start_python


def test_a_file_and_its_folders_are_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    replace_file(path, b"content")
    assert path.read_bytes() == b"content"
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_reader_keeps_the_file_that_it_opened(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        replace_file(path, b"new and longer")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new and longer"


def test_what_cannot_be_put_in_place_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder" / "taken").mkdir(parents=True)
    workplace = tmp_path / "tmp"
    workplace.mkdir()
    with pytest.raises(OSError, match="folder"):
        replace_file(tmp_path / "folder", b"content", workplace=workplace)
    with pytest.raises(OSError, match="folder"):
        replace_file(tmp_path / "folder", b"content")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "tmp"]
    assert list(workplace.iterdir()) == []


_WRITER = """
import sys
from pathlib import Path
from comfy_errors import OperationFailedError
from comfy_files.files import disk_errors, replace_file
for _ in range(100):
    replace_file(Path(sys.argv[1]), sys.argv[2].encode() * 10_000)
"""
_DIES_BEFORE_ITS_FILE_IS_IN_PLACE = """
import os, signal, sys
from pathlib import Path
from comfy_errors import OperationFailedError
from comfy_files.files import disk_errors, replace_file
os.fsync = lambda _handle: os.kill(os.getpid(), signal.SIGKILL)
replace_file(Path(sys.argv[1]), b"longer than what comes next")
"""


def test_those_who_are_killed_leave_one_file_that_the_next_one_removes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for _ in range(3):
        killed = start_python("-c", _DIES_BEFORE_ITS_FILE_IS_IN_PLACE, path)
        assert killed.wait() == -signal.SIGKILL
    assert [each.name for each in tmp_path.iterdir()] == [".file.partial"]
    replace_file(path, b"content")
    assert path.read_bytes() == b"content"
    assert list(tmp_path.iterdir()) == [path]


def test_several_at_once_leave_no_mixture_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    running = [start_python("-c", _WRITER, path, letter) for letter in "abc"]
    seen = set()
    while any(process.poll() is None for process in running):
        if path.exists():
            seen.add(path.read_bytes())
    assert [process.wait() for process in running] == [0] * 3
    assert seen <= {letter.encode() * 10_000 for letter in "abc"}
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_where_the_new_file_is_written_is_not_followed(tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    stranger.write_bytes(b"somebody else's")
    (tmp_path / ".file.partial").symlink_to(stranger)
    replace_file(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"
    assert stranger.read_bytes() == b"somebody else's"


def test_without_locks_a_file_is_replaced_anyway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_stream: object, _kind: int) -> None:
        raise OSError(errno.ENOLCK, "no locks here")

    monkeypatch.setattr("fcntl.flock", refuse)
    replace_file(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_file_in_the_way_is_not_reported_as_a_lack_of_space(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OperationFailedError) as caught, disk_errors("refused"):
        (tmp_path / "file" / "below").mkdir()
    assert "Move that file or folder away" in caught.value.remedy
    assert caught.value.message == f"refused: not a directory: {tmp_path / 'file' / 'below'}"
    with pytest.raises(OperationFailedError) as caught, disk_errors("refused", remedy="Do this."):
        (tmp_path / "file" / "below").mkdir()
    assert caught.value.remedy == "Do this."


def test_a_full_disk_is_reported_without_the_number_of_the_system_error() -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "/srv/cache/x")
    with pytest.raises(OperationFailedError) as caught, disk_errors("the cache"):
        raise full
    assert caught.value.message == "the cache: disk full: /srv/cache/x"


@pytest.mark.parametrize(
    ("number", "said", "next_step"),
    [
        (errno.ENOSPC, "it failed: disk full: /a/b", "Free some space"),
        (errno.EACCES, "it failed: permission denied: /a/b", "permissions"),
        (errno.EPERM, "it failed: permission denied: /a/b", "permissions"),
        (errno.EROFS, "it failed: read-only file system: /a/b", "can write to"),
        (errno.EIO, "it failed: input/output error: /a/b", "free space and the permissions"),
    ],
)
def test_what_the_system_refuses_has_a_next_step_of_its_own(
    number: int, said: str, next_step: str
) -> None:
    with pytest.raises(OperationFailedError) as caught, disk_errors("it failed"):
        raise OSError(number, os.strerror(number), "/a/b")
    assert caught.value.message == said
    assert next_step in caught.value.remedy


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_real_full_disk_is_called_full() -> None:
    with (
        pytest.raises(OperationFailedError, match="^it could not be written: disk full$"),
        disk_errors("it could not be written"),
        Path("/dev/full").open("wb", buffering=0) as full,
    ):
        full.write(b"content")


def test_of_two_paths_the_one_to_be_made_is_named_and_other_errors_keep_their_words() -> None:
    moved = OSError(errno.EXDEV, "Invalid cross-device link", "/from", None, "/to")
    assert os_reason(moved) == "invalid cross-device link: /to"
    assert os_reason(OSError("no answer")) == "no answer"
    assert os_reason(ValueError("not a number")) == "not a number"


def test_a_copied_folder_that_fails_names_the_first_file_and_why(tmp_path: Path) -> None:
    (tmp_path / "from").mkdir()
    (tmp_path / "from" / "a").symlink_to(tmp_path / "nowhere")
    with (
        pytest.raises(OperationFailedError, match=f"no such file or directory: {tmp_path}/from/a"),
        disk_errors("it could not be copied"),
    ):
        shutil.copytree(tmp_path / "from", tmp_path / "to")
    full = shutil.Error([("/from/a", "/to/a", "[Errno 28] No space left on device: '/to/a'")])
    assert os_reason(full) == "disk full: /to/a"
    with pytest.raises(OperationFailedError) as caught, disk_errors("no copy"):
        raise full
    assert "Free some space" in caught.value.remedy


def test_the_nearest_existing_place_of_a_path_is_itself_or_a_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    assert nearest_existing(tmp_path) == tmp_path
    assert nearest_existing(tmp_path / "new" / "folder") == tmp_path
    assert nearest_existing(tmp_path / "file" / "below") == tmp_path / "file"
    monkeypatch.chdir(tmp_path)
    assert nearest_existing(Path("new/folder")) == tmp_path
