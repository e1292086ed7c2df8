"""Asks again after errors that pass: later each time, or when the server says."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

from comfy_files.parallel import interrupted
from comfy_files.progress import Say, say_nothing
from comfy_http.errors import TransientError

_T = TypeVar("_T")

_ATTEMPTS = 6
_FIRST_WAIT_S = 1.0
_LONGEST_OWN_WAIT_S = 30.0
# A server that asks for more is treated as one that does not answer.
_LONGEST_WAIT_S = 600.0
_SAID_FROM_S = 5.0
_POLL_S = 0.2


class Backoff:
    """The waits between attempts at one thing."""

    def __init__(self, say: Say = say_nothing) -> None:
        self._say = say
        self._failed = 0

    def progressed(self) -> None:
        """Counts attempts from the start again, because something arrived."""
        self._failed = 0

    def wait(self, error: TransientError, *, url: str) -> None:
        """Waits before the next attempt; raises `error` if there were enough.

        Raises KeyboardInterrupt if this thread's work is cancelled.
        """
        self._failed += 1
        asked = error.wait_s
        if self._failed >= _ATTEMPTS or (asked or 0) > _LONGEST_WAIT_S:
            raise error
        own = min(_FIRST_WAIT_S * 2 ** (self._failed - 1), _LONGEST_OWN_WAIT_S)
        wait_s = own if asked is None else asked
        if asked is not None and asked >= _SAID_FROM_S:
            self._say(f"{urlsplit(url).hostname} asks to wait {round(asked)} s")
        until = time.monotonic() + wait_s
        while (left := until - time.monotonic()) > 0:
            if interrupted():
                raise KeyboardInterrupt
            time.sleep(min(left, _POLL_S))


def retried(step: Callable[[], _T], *, url: str, say: Say = say_nothing) -> _T:
    """The result of `step`, which is repeated while it raises TransientError."""
    backoff = Backoff(say)
    while True:
        try:
            return step()
        except TransientError as error:
            backoff.wait(error, url=url)
