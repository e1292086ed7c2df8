"""The lock of what is made once: others wait, and it ends with its holder."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError
from comfy_files.parallel import in_parallel
from runpod_comfy.cache.key_lock import key_lock
from runpod_comfy.cache.paths import Cache

_HOLDER = """
import sys
from pathlib import Path
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.key_lock import key_lock
with key_lock(Cache(root=Path(sys.argv[1])), "tree"):
    print("held", flush=True)
    sys.stdin.read()
"""


def _holder(cache: Cache) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(cache.root)],
        env={"PYTHONPATH": ":".join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_another_process_waits_and_says_for_what(cache: Cache) -> None:
    with _holder(cache) as holder:
        said: list[str] = []

        def release(message: str) -> None:
            said.append(message)
            holder.kill()

        with key_lock(cache, "tree", what="the same tree", say=release):
            assert said == ["Waiting for another command that makes the same tree"]


def test_other_keys_do_not_wait(cache: Cache) -> None:
    with _holder(cache) as holder, key_lock(cache, "another"):
        holder.kill()


def test_who_waits_stops_when_the_work_is_given_up(cache: Cache) -> None:
    waiting = threading.Event()

    def wait() -> None:
        with key_lock(cache, "tree", what="it", say=lambda _message: waiting.set()):
            raise AssertionError("the lock was never free")

    def fail() -> None:
        assert waiting.wait(30)
        raise InvalidInputError("first")

    with _holder(cache) as holder:
        with pytest.raises(InvalidInputError, match="first"):
            in_parallel(lambda part: part(), [wait, fail], give_up=True)
        holder.kill()


def test_a_cache_that_cannot_be_written_has_no_locks_and_nobody_waits(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with key_lock(Cache(root=tmp_path / "file"), "tree"):
        pass
