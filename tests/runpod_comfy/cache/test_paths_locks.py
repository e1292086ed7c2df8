"""Commands use the cache together; the one that clears it is alone with it.

What is made once has a lock: others wait, and it ends with its holder.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError, OperationFailedError
from comfy_files.parallel import in_parallel
from runpod_comfy.cache.paths import Cache
from tests.program import next_line, start_python

# Holds the cache in a process of its own until a line comes, or its input ends.
_HOLDER = """
import sys
from pathlib import Path
from runpod_comfy.cache.paths import Cache
def say(message):
    print(message, flush=True)
with getattr(Cache(root=Path(sys.argv[1])), sys.argv[2])(say):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def _start(cache: Cache, kind: str) -> Iterator[subprocess.Popen[str]]:
    process = start_python("-c", _HOLDER, cache.root, kind, stdin=subprocess.PIPE)
    try:
        yield process
    finally:
        process.communicate()


def _release(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_several_use_it_at_once(cache: Cache) -> None:
    with cache.using() as first, _start(cache, "using") as other:
        assert first is not None
        assert next_line(other) == "held"


def test_the_one_that_clears_it_waits_and_says_so(cache: Cache) -> None:
    with _start(cache, "using") as user:
        assert next_line(user) == "held"
        with _start(cache, "alone") as clearer:
            assert next_line(clearer) == f"Waiting for the commands that use the cache {cache.root}"
            _release(user)
            assert next_line(clearer) == "held"


def test_a_command_waits_for_the_one_that_clears_it(cache: Cache) -> None:
    cache.root.mkdir()
    said: list[str] = []
    with _start(cache, "alone") as clearer:
        assert next_line(clearer) == "held"

        def release(message: str) -> None:
            said.append(message)
            _release(clearer)

        with cache.using(release):
            assert said == [f"Waiting for gc, which is clearing the cache {cache.root}"]


def test_a_program_that_inherited_it_keeps_it_when_its_parent_is_gone(cache: Cache) -> None:
    with cache.using() as descriptor:
        assert descriptor is not None
        child = subprocess.Popen(
            ["sh", "-c", "read -r line"], stdin=subprocess.PIPE, pass_fds=[descriptor]
        )
    said: list[str] = []

    def end_child(message: str) -> None:
        said.append(message)
        child.communicate()

    with cache.alone(end_child):
        assert len(said) == 1


def test_with_a_read_only_cache_a_command_continues_and_clearing_is_refused(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    cache = Cache(root=tmp_path / "file" / "cache")
    with cache.using() as descriptor:
        assert descriptor is None
    with pytest.raises(OperationFailedError, match="cannot be written"), cache.alone():
        pass


_MAKER = """
import sys
from pathlib import Path
from runpod_comfy.cache.paths import Cache
with Cache(root=Path(sys.argv[1])).key_lock("tree"):
    print("held", flush=True)
    sys.stdin.read()
"""


def _maker(cache: Cache) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _MAKER, str(cache.root)],
        env={"PYTHONPATH": ":".join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_another_process_waits_and_says_for_what(cache: Cache) -> None:
    with _maker(cache) as maker:
        said: list[str] = []

        def release(message: str) -> None:
            said.append(message)
            maker.kill()

        with cache.key_lock("tree", what="the same tree", say=release):
            assert said == ["Waiting for another command that is making the same tree"]


def test_other_keys_do_not_wait(cache: Cache) -> None:
    with _maker(cache) as maker, cache.key_lock("another"):
        maker.kill()


def test_who_waits_stops_when_the_work_is_given_up(cache: Cache) -> None:
    waiting = threading.Event()

    def wait() -> None:
        with cache.key_lock("tree", what="it", say=lambda _message: waiting.set()):
            raise AssertionError("the lock was never free")

    def fail() -> None:
        assert waiting.wait(30)
        raise InvalidInputError("first")

    with _maker(cache) as maker:
        with pytest.raises(InvalidInputError, match="first"):
            in_parallel(lambda part: part(), [wait, fail], give_up=True)
        maker.kill()


def test_a_read_only_cache_has_no_locks_and_no_command_waits(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with Cache(root=tmp_path / "file").key_lock("tree"):
        pass
