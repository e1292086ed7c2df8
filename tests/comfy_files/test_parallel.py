"""Work in threads: its order, its errors, and its end when it is interrupted."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time

import pytest

from comfy_errors import UnavailableError
from comfy_files.parallel import in_parallel, interrupted
from runpod_comfy.sources.git.repository import run_git
from tests.program import start_python

# For a busy machine; less than a silent server is given.
_PATIENCE_S = 90
_PROGRAM = "import sys; from tests.comfy_files.test_parallel import ask; ask(sys.argv[1])"


def ask(port: str) -> None:
    """A program: eight workers each have a git that waits for a server which says nothing, and
    more are queued."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    addresses = [f"git://127.0.0.1:{port}/{number}" for number in range(30)]
    try:
        in_parallel(lambda address: run_git(["ls-remote", "--", address]), addresses)
    except KeyboardInterrupt:
        sys.exit(130)


def test_results_keep_the_order_of_the_items() -> None:
    def work(number: int) -> int:
        time.sleep(0.01 * (5 - number))
        return number * 2

    assert in_parallel(work, range(5)) == [0, 2, 4, 6, 8]
    assert in_parallel(work, []) == []


def test_the_error_of_the_first_item_is_raised_once_all_are_done() -> None:
    done: list[int] = []

    def work(number: int) -> None:
        done.append(number)
        if number in (2, 4):
            raise ValueError(number)

    with pytest.raises(ValueError, match="2"):
        in_parallel(work, range(6), threads=2)
    assert sorted(done) == list(range(6))


def test_the_errors_of_several_items_are_reported_together() -> None:
    def work(number: int) -> int:
        if number > 1:
            raise UnavailableError(f"no {number}", remedy=f"Add {number}.")
        return number

    with pytest.raises(UnavailableError) as raised:
        in_parallel(work, [1, 2, 3])
    assert raised.value.message == "there are 2 faults:\n  no 2. Add 2.\n  no 3. Add 3."


def test_with_give_up_what_is_queued_is_not_begun() -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        raise ValueError(number)

    with pytest.raises(ValueError, match="0"):
        in_parallel(work, range(100), threads=1, give_up=True)
    assert begun == [0]


def test_an_interruption_that_does_not_wake_the_waiting_thread_is_noticed() -> None:
    """As one that comes a moment before the wait begins: here another thread is given it."""
    heard: list[bool] = []

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    def work(_item: int) -> None:
        # By then the others wait.
        time.sleep(0.5)
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        deadline = time.monotonic() + 30
        while not interrupted() and time.monotonic() < deadline:
            time.sleep(0.01)
        heard.append(interrupted())

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            in_parallel(work, [0])
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert heard == [True]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_what_is_under_way(number: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=32) as server:
        program = start_python("-c", _PROGRAM, server.getsockname()[1])
        server.settimeout(_PATIENCE_S)
        connections = [server.accept()[0] for _ in range(8)]
        # To the program alone: git does not get it.
        program.send_signal(number)
        assert program.wait(timeout=_PATIENCE_S) == 130
        for connection in connections:
            # Nothing of git is left: its end of the connection is closed.
            with connection:
                connection.settimeout(_PATIENCE_S)
                while connection.recv(65536):
                    pass
