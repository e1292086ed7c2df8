from __future__ import annotations

import threading
import time

import pytest

from comfy_files.parallel import give_up_with
from comfy_http.errors import TransientError
from comfy_http.retries import Backoff, Pauses, pause, retried

URL = "https://host.example/x"


def _busy(wait_s: float | None = None, host: str | None = None) -> TransientError:
    return TransientError("busy", remedy="", wait_s=wait_s, host=host)


def test_each_wait_is_longer_than_the_one_before_until_there_were_enough() -> None:
    backoff = Backoff(attempts=6)
    assert [backoff.next_wait_s(_busy()) for _ in range(5)] == [1, 2, 4, 8, 16]
    with pytest.raises(TransientError, match="busy"):
        backoff.next_wait_s(_busy())


def test_progress_makes_the_waits_short_again() -> None:
    backoff = Backoff(attempts=6)
    for _ in range(3):
        backoff.next_wait_s(_busy())
    backoff.progressed()
    assert backoff.next_wait_s(_busy()) == 1


def test_the_server_says_how_long_to_wait_within_reason() -> None:
    assert Backoff(attempts=6).next_wait_s(_busy(40)) == 40
    with pytest.raises(TransientError):
        Backoff(attempts=6).next_wait_s(_busy(86_400))


def test_a_step_is_repeated_until_it_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfy_http.retries._FIRST_WAIT_S", 0.01)
    attempts: list[int] = []

    def step() -> str:
        attempts.append(1)
        if len(attempts) < 3:
            raise _busy()
        return "done"

    assert retried(step, url=URL) == "done"
    assert len(attempts) == 3


def test_all_wait_for_a_server_that_asked_one_to_and_it_is_said_once() -> None:
    said: list[str] = []
    pauses = Pauses(said.append)
    for _ in range(3):
        pauses.note("hf", _busy(40, "huggingface.co"))
    assert said == ["huggingface.co asks to wait 40 s"]
    pauses.note("other", _busy(0.3))
    began = time.monotonic()
    pauses.wait("other")
    assert 0.25 < time.monotonic() - began < 5
    pauses.wait("one that nobody knows")


def test_a_wait_ends_when_the_work_is_given_up() -> None:
    given_up = threading.Event()
    ended: list[float] = []

    def work() -> None:
        give_up_with(given_up)
        with pytest.raises(KeyboardInterrupt):
            pause(60)
        ended.append(time.monotonic())

    thread = threading.Thread(target=work)
    thread.start()
    given_up.set()
    thread.join(10)
    assert ended
