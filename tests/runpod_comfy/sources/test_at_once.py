"""Work in threads: its order, its errors, and its end when it is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from runpod_comfy.sources.at_once import at_once

# Eight workers each have a git that waits for a server which says nothing, and more are queued.
_PROGRAM = """
import signal, sys
from runpod_comfy.cli.app import _unwind_on_signals
from runpod_comfy.sources.at_once import at_once
from runpod_comfy.sources.git_process import run_git
_unwind_on_signals()
print("started", flush=True)
try:
    at_once(lambda n: run_git(["ls-remote", "--", f"git://127.0.0.1:{sys.argv[1]}/{n}"]), range(30))
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_results_keep_the_order_of_the_items() -> None:
    def work(number: int) -> int:
        time.sleep(0.01 * (5 - number))
        return number * 2

    assert at_once(work, range(5)) == [0, 2, 4, 6, 8]
    assert at_once(work, []) == []


def test_the_error_of_the_first_item_is_raised_once_all_are_done() -> None:
    done: list[int] = []

    def work(number: int) -> None:
        done.append(number)
        if number in (2, 4):
            raise ValueError(number)

    with pytest.raises(ValueError, match="2"):
        at_once(work, range(6), threads=2)
    assert sorted(done) == list(range(6))


def test_with_give_up_what_is_queued_is_not_begun() -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        raise ValueError(number)

    with pytest.raises(ValueError, match="0"):
        at_once(work, range(100), threads=1, give_up=True)
    assert begun == [0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_what_is_under_way(number: signal.Signals) -> None:
    with _SilentServer() as server:
        program = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(server.port)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        with program:
            assert program.stdout is not None
            program.stdout.readline()
            server.wait_for_a_caller()
            began = time.monotonic()
            # To the program alone: git does not hear of it.
            program.send_signal(number)
            assert program.wait(timeout=20) == 130
            assert time.monotonic() - began < 8
        assert not _processes_of_session(program.pid)


def _processes_of_session(session: int) -> list[str]:
    found = subprocess.run(
        ["ps", "-o", "pid=,args=", "-s", str(session)], capture_output=True, text=True, check=False
    )
    return found.stdout.splitlines()


class _SilentServer:
    """Takes connections and never says a word."""

    def __enter__(self) -> _SilentServer:
        import socket

        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._called = threading.Event()
        self._callers: list[object] = []
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.close()

    def wait_for_a_caller(self) -> None:
        assert self._called.wait(timeout=20)

    def _serve(self) -> None:
        while True:
            try:
                self._callers.append(self._socket.accept()[0])
            except OSError:
                return
            self._called.set()
