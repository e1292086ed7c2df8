from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from comfy_errors import OperationFailedError
from comfy_home.in_use import home_alone, home_in_use, refuse_home_in_use
from comfy_home.layout import LOCK_NAME, MARKER_NAME
from tests.program import next_line, start_python

_USE = """
import subprocess, sys
from pathlib import Path
from comfy_files.processes import inheritable_descriptors
from comfy_home.in_use import home_alone, home_in_use
with {lock}(Path(sys.argv[1]), print) as held:
    fds = inheritable_descriptors() if held is None else (held,)
    child = subprocess.Popen(["sleep", "600"], pass_fds=fds)
    print(child.pid, flush=True)
    sys.stdin.readline()
    child.kill()
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    root = tmp_path / "home"
    (root / "ComfyUI").mkdir(parents=True)
    (root / MARKER_NAME).touch()
    return root


@contextmanager
def used(home: Path, lock: str = "home_in_use") -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that uses the home with a program of its own, and the id of that program."""
    process = start_python("-c", _USE.format(lock=lock), home, stdin=subprocess.PIPE)
    try:
        yield process, int(next_line(process))
    finally:
        if process.poll() is None:
            process.communicate("\n")


def test_two_use_a_home_at_once(home: Path) -> None:
    with used(home), home_in_use(home, pytest.fail):
        pass


def test_a_change_waits_for_those_that_use_the_home_and_says_who(home: Path) -> None:
    said: list[str] = []
    with used(home) as (process, _):

        def end(sentence: str) -> None:
            said.append(sentence)
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()

        with home_alone(home, end):
            (sentence,) = said
    assert sentence.startswith(f"Waiting for process {process.pid} (")
    assert sentence.endswith(f"which uses {home}; Ctrl-C stops waiting")


def test_use_waits_for_a_change(home: Path) -> None:
    said: list[str] = []
    with home_alone(home, pytest.fail):
        waiting = threading.Thread(target=_use_once, args=(home, said.append))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
    waiting.join()
    assert len(said) == 1


def _use_once(home: Path, say: Callable[[str], None]) -> None:
    with home_in_use(home, say):
        pass


@pytest.mark.parametrize("lock", ["home_in_use", "home_alone"])
def test_what_a_killed_process_had_started_keeps_the_lock(home: Path, lock: str) -> None:
    with used(home, lock) as (process, child):
        process.kill()
        process.wait()
        said: list[str] = []

        def end(sentence: str) -> None:
            said.append(sentence)
            os.kill(child, signal.SIGKILL)

        with home_alone(home, end):
            assert said == [
                f"Waiting for process {child} (sleep 600), which uses {home}; Ctrl-C stops waiting"
            ]


def test_a_home_in_use_is_refused_with_the_command_that_ends_it(home: Path) -> None:
    with used(home) as (process, _), pytest.raises(OperationFailedError) as refused:
        refuse_home_in_use(home, otherwise="nothing was removed")
    assert refused.value.message.startswith(f"{home} is in use by process {process.pid} (")
    assert refused.value.message.endswith("; nothing was removed")
    assert f"kill {process.pid}." in refused.value.remedy
    refuse_home_in_use(home, otherwise="")


def test_an_engine_that_is_just_ending_is_not_refused(home: Path) -> None:
    with used(home) as (process, _):
        ending = threading.Timer(0.3, process.communicate, ["\n"])
        ending.start()
        refuse_home_in_use(home, otherwise="")
        ending.join()


def test_a_home_that_is_being_changed_is_not_refused(home: Path) -> None:
    with used(home, "home_alone"):
        refuse_home_in_use(home, otherwise="")


def test_a_core_that_was_started_by_hand_is_refused(home: Path) -> None:
    (home / "ComfyUI/main.py").write_text("print('begun', flush=True)\ninput()\n")
    process = start_python("main.py", stdin=subprocess.PIPE, cwd=home / "ComfyUI")
    next_line(process)
    with pytest.raises(OperationFailedError, match=f"process {process.pid} "):
        refuse_home_in_use(home, otherwise="nothing was removed")
    process.communicate("\n")
    refuse_home_in_use(home, otherwise="")


def test_a_folder_without_a_version_gets_no_lock(tmp_path: Path) -> None:
    with home_in_use(tmp_path, pytest.fail):
        assert list(tmp_path.iterdir()) == []
    with home_in_use(tmp_path / "none", pytest.fail):
        pass


def test_a_home_that_cannot_be_written_is_used_without_a_lock(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "open", refuse)
    with home_in_use(home, pytest.fail):
        assert not (home / LOCK_NAME).exists()


def test_a_lock_file_that_was_removed_meanwhile_is_no_lock(home: Path) -> None:
    path = home / LOCK_NAME
    with path.open("ab") as removed:
        fcntl.flock(removed, fcntl.LOCK_EX)

        def replace(_sentence: str) -> None:
            path.unlink()
            fcntl.flock(removed, fcntl.LOCK_UN)

        with home_alone(home, replace):
            assert path.is_file()
            with path.open("rb") as other, pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
