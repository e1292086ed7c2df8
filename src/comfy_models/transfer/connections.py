"""As many connections to one source as help to fill a partial file."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable

from comfy_errors import UnavailableError
from comfy_files.parallel import end_if_interrupted
from comfy_http.errors import TransientError
from comfy_http.retries import Backoff, pause
from comfy_models.transfer.connection import Connection, NoRangesError, Origin
from comfy_models.transfer.following_hash import FollowingHash
from comfy_models.transfer.partial import PartialFile

_ADD_EVERY_S = 0.15
_LOOK_S = 0.05
# If the hash is further behind, this machine is slower than its connections.
_LAG_BYTES = 8 << 20
# A connection that broke after this much is opened again at once.
_WORTHWHILE_BYTES = 1 << 20
# No server limits each connection to so much; further ones only get into each other's way on disk.
_FAST_BYTES_S = 100e6
# Of the time of connections.
_BUSY = 0.5
# How long not to add one after one broke: first, and at most.
_CAUTIOUS_S, _MOST_CAUTIOUS_S = 2.0, 60.0


class Connections:
    """Fills `partial` from `origin`, over `at_once` connections at most; those beside the first
    have a place in `further`. `count` gets the size of each chunk that was written, `check` is
    called now and then and may raise.
    """

    def __init__(
        self,
        partial: PartialFile,
        hashing: FollowingHash,
        origin: Origin,
        *,
        at_once: int,
        further: threading.Semaphore,
        backoff: Backoff,
        count: Callable[[int], None],
        check: Callable[[], None],
    ) -> None:
        self._partial, self._hashing, self._origin = partial, hashing, origin
        self._at_once, self._further, self._backoff = at_once, further, backoff
        self._count, self._check = count, check
        self._generation = partial.retake()
        self._running: set[Connection] = set()
        self._broken: TransientError | None = None
        self._error: BaseException | None = None
        self._most_bytes = partial.received_bytes
        self._caution_s = _CAUTIOUS_S
        self._add_at = 0.0
        self._bytes_at_look, self._looked_at = partial.received_bytes, time.monotonic()
        self._busy_at_look_s = 0.0

    def run(self) -> None:
        """Returns once the file is whole.

        Raises ComfyError if the source cannot give all of it, StartOverError, what `check` raises,
        and KeyboardInterrupt if this thread's work is cancelled.
        """
        try:
            while not self._partial.is_whole:
                self._check()
                if not self._running:
                    self._recover()
                    self._add(is_first=True)
                elif self._needs_another():
                    self._add(is_first=False)
                with self._partial.changed:
                    self._partial.changed.wait_for(self._has_news, timeout=_LOOK_S)
                if self._error is not None:
                    raise self._error
                end_if_interrupted()
        finally:
            self._partial.retake()

    def _has_news(self) -> bool:
        return self._partial.is_whole or not self._running or self._error is not None

    def _recover(self) -> None:
        """Waits, if the last connection broke. Raises its error if there is no hope."""
        error, self._broken = self._broken, None
        if error is None:
            return
        gained = self._partial.received_bytes - self._most_bytes
        if gained > 0:
            self._backoff.progressed()
            self._most_bytes = self._partial.received_bytes
        is_worthwhile = gained >= _WORTHWHILE_BYTES and error.wait_s is None
        wait_s = 0.0 if is_worthwhile else self._backoff.next_wait_s(error)
        self._origin.pauses.again(self._origin.server, error)
        pause(wait_s)

    def _needs_another(self) -> bool:
        now, running = time.monotonic(), tuple(self._running)
        if now < self._add_at:
            return False
        gained = self._partial.received_bytes - self._bytes_at_look
        time_s = (now - self._looked_at) * max(1, len(running))
        rate = gained / time_s
        self._bytes_at_look, self._looked_at = self._partial.received_bytes, now
        busy_s = sum(one.busy_s for one in running)
        share, self._busy_at_look_s = (busy_s - self._busy_at_look_s) / time_s, busy_s
        self._add_at = max(self._add_at, now + _ADD_EVERY_S)
        silent = sum(one.received_bytes == 0 for one in running)
        return (
            len(running) < self._at_once
            and rate < _FAST_BYTES_S
            # With more, this machine is slower than its connections.
            and share < _BUSY
            and self._partial.prefix - self._hashing.hashed_bytes < _LAG_BYTES
            # Not before the last one turned out to work; but one of many may hang.
            and (silent == 0 or (silent == 1 and len(running) > 2))
        )

    def _add(self, *, is_first: bool) -> None:
        self._add_at = time.monotonic() + _ADD_EVERY_S
        extent = self._partial.take(self._generation)
        if extent is None or not (is_first or self._further.acquire(blocking=False)):
            self._release(extent)
            return
        connection = Connection(
            self._partial,
            self._generation,
            self._origin,
            is_alone=lambda: len(self._running) == 1,
            is_only=lambda: self._at_once == 1,
            count=self._count,
        )
        self._running.add(connection)
        context = contextvars.copy_context()
        arguments = (self._serve, connection, extent, is_first)
        threading.Thread(target=context.run, args=arguments, daemon=True).start()

    def _release(self, extent: tuple[int, int] | None) -> None:
        if extent is not None:
            part = extent[0] // self._partial.form.part_bytes
            self._partial.release(self._generation, part)

    def _serve(self, connection: Connection, extent: tuple[int, int], is_first: bool) -> None:
        try:
            connection.fill(extent)
        except NoRangesError:
            self._at_once = 1
        except TransientError as error:
            self._broken = error
            self._origin.pauses.note(self._origin.server, error)
            if connection.received_bytes < _WORTHWHILE_BYTES:
                self._add_at = time.monotonic() + self._caution_s
                self._caution_s = min(2 * self._caution_s, _MOST_CAUTIOUS_S)
        except UnavailableError as error:
            if len(self._running) == 1:
                self._error = error
            # Some servers refuse more connections than they like.
            self._at_once = max(1, len(self._running) - 1)
        except BaseException as error:
            self._error = error
        finally:
            if not is_first:
                self._further.release()
            with self._partial.changed:
                self._running.discard(connection)
                self._partial.changed.notify_all()
