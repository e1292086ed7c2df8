"""Asks again after errors that pass: later each time, or when the server says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

from comfy_files.parallel import end_if_interrupted
from comfy_files.progress import Say, say_nothing, when_slow
from comfy_http.errors import SilenceError, TransientError

_T = TypeVar("_T")

_ATTEMPTS = 4
_FIRST_WAIT_S = 1.0
_LONGEST_OWN_WAIT_S = 30.0
# In a row, without anything that arrived between them.
_SILENCES = 2
LONGEST_WAIT_S = 600.0
"""A server that asks for more is treated as one that does not answer."""
_SAID_FROM_S = 5.0
_POLL_S = 0.2


def duration_in_words(seconds: float) -> str:
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{round(seconds / unit)} {name}"
    return f"{round(seconds)} s"


def pause(wait_s: float) -> None:
    """Sleeps. Raises KeyboardInterrupt if this thread's work is cancelled."""
    until = time.monotonic() + wait_s
    while (left := until - time.monotonic()) > 0:
        end_if_interrupted()
        time.sleep(min(left, _POLL_S))


class Pauses:
    """Servers that asked to wait. If one connection to a server is asked to, all of them wait."""

    def __init__(self, say: Say = say_nothing) -> None:
        self._say = say
        self._until: dict[str, float] = {}
        self._lock = threading.Lock()

    def note(self, server: str, error: TransientError) -> None:
        """Remembers the wait that the error of a server asks for, and says it if it is long."""
        if error.wait_s is None or error.wait_s > LONGEST_WAIT_S:
            return
        until = time.monotonic() + error.wait_s
        with self._lock:
            is_known = until < self._until.get(server, 0.0) + _SAID_FROM_S
            self._until[server] = max(until, self._until.get(server, 0.0))
        if error.wait_s >= _SAID_FROM_S and not is_known:
            self._say(f"{error.host or server} asks to wait {round(error.wait_s)} s")

    def again(self, server: str, error: TransientError) -> None:
        """Says that a server is asked again, if it was silent."""
        if isinstance(error, SilenceError):
            host, silence_s = error.host or server, error.silence_s
            self._say(f"{host} sent nothing for {silence_s:g} s; trying again")

    def wait(self, server: str) -> None:
        """Waits until the server may be asked. Raises KeyboardInterrupt if cancelled."""
        while (left := self._until.get(server, 0.0) - time.monotonic()) > 0:
            pause(left)


class Backoff:
    """The waits between attempts at one thing."""

    def __init__(self, *, attempts: int) -> None:
        self._attempts = attempts
        self._failed = self._silent = 0

    def progressed(self) -> None:
        """Counts attempts from the start again, because something arrived."""
        self._failed = self._silent = 0

    def next_wait_s(self, error: TransientError) -> float:
        """How long to wait before the next attempt; raises `error` if there were enough."""
        self._failed += 1
        self._silent = self._silent + 1 if isinstance(error, SilenceError) else 0
        if self._silent >= _SILENCES or self._failed >= self._attempts:
            raise error
        if (error.wait_s or 0) > LONGEST_WAIT_S:
            raise error
        if error.wait_s is not None:
            return error.wait_s
        return min(_FIRST_WAIT_S * 2.0 ** (self._failed - 1), _LONGEST_OWN_WAIT_S)


def retried(step: Callable[[], _T], *, url: str, say: Say = say_nothing) -> _T:
    """The result of `step`, a question that is repeated while it raises TransientError."""
    backoff, pauses = Backoff(attempts=_ATTEMPTS), Pauses(say)
    server = urlsplit(url).hostname or url
    while True:
        try:
            return step()
        except TransientError as error:
            wait_s = backoff.next_wait_s(error)
            pauses.note(server, error)
            pauses.again(server, error)
            pause(wait_s)


class Questions:
    """Questions to servers; one that keeps us waiting is named once."""

    def __init__(self) -> None:
        self._named: set[str] = set()
        self._lock = threading.Lock()

    def answer(self, step: Callable[[], _T], *, url: str, say: Say) -> _T:
        """As `retried`."""
        server = urlsplit(url).hostname or url

        def say_once(sentence: str) -> None:
            with self._lock:
                is_first = server not in self._named
                self._named.add(server)
            if is_first:
                say(sentence)

        with when_slow(say_once, f"Waiting for {server}"):
            return retried(step, url=url, say=say)
