"""Locks between processes, held by open files: they end with their process, however that ends."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path

from comfy_files.parallel import interrupted
from comfy_files.progress import Say, say_nothing

_POLL_S = 0.05


def lock(
    descriptor: int, *, shared: bool = False, waiting: str = "", say: Say = say_nothing
) -> bool:
    """Waits for the lock of an open file, and says `waiting` if it has to wait.

    False where the file system has no locks. Raises KeyboardInterrupt in a thread whose work was
    given up meanwhile.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting:
                say(waiting)
                waiting = ""
            if interrupted():
                raise KeyboardInterrupt from None
            time.sleep(_POLL_S)
        except OSError:
            return False
        else:
            return True


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of this file. Raises OSError."""
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
