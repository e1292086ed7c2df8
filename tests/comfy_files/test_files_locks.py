"""Locks that end with the process that holds them."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from comfy_files.files import is_locked, lock
from tests.program import next_line, start_python

_HOLD = """
import sys
from comfy_files.files import lock
file = open(sys.argv[1], "ab")
lock(file.fileno(), shared=sys.argv[2] == "shared")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(path: Path, kind: str = "alone") -> Iterator[subprocess.Popen[str]]:
    """The lock of `path`, held by another process until it is killed."""
    process = start_python("-c", _HOLD, path, kind, stdin=subprocess.PIPE)
    with process:
        assert next_line(process) == "held"
        yield process
        process.kill()


def test_a_lock_ends_with_its_process_and_waiting_is_reported_once(tmp_path: Path) -> None:
    said: list[str] = []
    path = tmp_path / "file"
    with held(path) as process, path.open("ab") as mine:
        assert is_locked(path)

        def told(text: str) -> None:
            said.append(text)
            process.send_signal(signal.SIGKILL)

        assert lock(mine.fileno(), waiting="Waiting for another", say=told)
    assert said == ["Waiting for another"]
    assert not is_locked(path)


def test_several_share_a_lock_that_no_command_wants_alone(tmp_path: Path) -> None:
    said: list[str] = []
    path = tmp_path / "file"
    with held(path, "shared"), path.open("ab") as mine:
        assert lock(mine.fileno(), shared=True, waiting="Waiting", say=said.append)
    assert said == []
