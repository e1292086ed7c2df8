"""Who writes a file, for machines that share a folder and perhaps not their locks.

A lease is a small file: a token, where its owner runs, and a count that the owner raises every few
seconds. Clocks are not compared: another machine watches the file, and takes the lease over once it
has not changed for a while.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from comfy_files.machine import boot_id, started_at, this_process
from comfy_http.retries import pause

BEAT_S = 3.0
LOST_AFTER_S = 30.0
# After this long without a beat an owner looks whether it still is one.
_FRESH_S = 10.0
_SETTLE_S = 2.0
_LOOK_S = 0.5
_COUNT_AT = 128
_LONGEST = 1024


class Lease:
    """A lease that this process took. `lost` is true once another one has taken it over."""

    def __init__(self, path: Path, token: str) -> None:
        self._path, self._token = path, token
        self._count = 0
        self._beaten_at = _now()
        self._ended = threading.Event()
        self._beating = threading.Lock()
        self.lost = False
        threading.Thread(target=self._beat_on, daemon=True).start()

    def holds(self) -> bool:
        """False if another process has taken the lease over. For use before each write."""
        if not self.lost and _now() - self._beaten_at > _FRESH_S:
            # This process was stopped, or the disk does not answer.
            self.beat()
            # By now another machine may have taken over what did not change.
            self.lost = self.lost or _now() - self._beaten_at > LOST_AFTER_S
        return not self.lost

    def beat(self) -> None:
        """Raises the count, if the lease is still there."""
        with self._beating, contextlib.suppress(OSError):
            if _token_in(_content(self._path)) != self._token:
                self.lost = True
                return
            self._count += 1
            # Closed each time: network file systems show other machines what has been closed.
            descriptor = os.open(self._path, os.O_WRONLY | os.O_NOFOLLOW)
            try:
                os.pwrite(descriptor, f"{self._count:020d}\n".encode(), _COUNT_AT)
            finally:
                os.close(descriptor)
            self._beaten_at = _now()

    def end(self) -> None:
        """Gives the lease back."""
        self._ended.set()
        with self._beating, contextlib.suppress(OSError):
            if _token_in(_content(self._path)) == self._token:
                self._path.unlink()

    def _beat_on(self) -> None:
        while not self._ended.wait(BEAT_S) and not self.lost:
            self.beat()


def take_lease(
    path: Path, *, is_locked: bool, is_done: Callable[[], bool], wait: Callable[[], None]
) -> Lease | None:
    """A lease, once it is free or its owner is gone; None if `is_done` meanwhile.

    `is_locked` is true if no other process of this machine holds or takes it. `wait` is called
    before a wait. Raises OSError, and KeyboardInterrupt if this thread's work is cancelled.
    """
    token = uuid.uuid4().hex
    seen: bytes | None = None
    since = _now()
    while True:
        if _creates(path, token):
            return Lease(path, token)
        content = _content(path)
        if content is None:
            continue
        is_ours_to_take = is_locked and owner_is_gone(content)
        if content != seen:
            seen, since = content, _now()
        if is_ours_to_take or _now() - since > LOST_AFTER_S:
            if _replaces(path, content, token):
                # Another machine may have come to the same conclusion.
                if not is_ours_to_take:
                    time.sleep(_SETTLE_S)
                if _token_in(_content(path)) == token:
                    return Lease(path, token)
            seen = None
            continue
        wait()
        if is_done():
            return None
        pause(_LOOK_S)


def owner_is_gone(content: bytes) -> bool:
    """True if the owner named in a lease ran on this machine and does not any more."""
    words = content.decode("ascii", errors="replace").split()
    if len(words) < 3 or words[1] != boot_id():
        return False
    pid, _, began = words[2].partition("-")
    return not pid.isdecimal() or started_at(int(pid)) != began


def _creates(path: Path, token: str) -> bool:
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.write(descriptor, _text(token))
        finally:
            os.close(descriptor)
        return True
    return False


def _replaces(path: Path, expected: bytes, token: str) -> bool:
    """Takes a lease over, unless it has changed."""
    own = path.with_name(f"{path.name}.{token}")
    try:
        own.write_bytes(_text(token))
        if _content(path) != expected:
            return False
        own.replace(path)
        return True
    finally:
        own.unlink(missing_ok=True)


def _text(token: str) -> bytes:
    owner = f"{token} {boot_id() or '-'} {this_process()}"
    return f"{owner:<{_COUNT_AT - 1}}\n{0:020d}\n".encode()


def _content(path: Path) -> bytes | None:
    try:
        with path.open("rb") as stream:
            return stream.read(_LONGEST)
    except FileNotFoundError:
        return None


def _token_in(content: bytes | None) -> str | None:
    words = content.decode("ascii", errors="replace").split(maxsplit=1) if content else []
    return words[0] if words else None


def _now() -> float:
    """Seconds that also pass while this machine sleeps."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)
