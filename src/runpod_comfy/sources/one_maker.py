"""What several commands would make at the same time in a cache is made by one of them.

The others wait and then take what they find. Nothing breaks where there are no locks: then it is
made more than once, and the first one wins.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator

from runpod_comfy.sources.at_once import interrupted
from runpod_comfy.sources.cache import Cache
from runpod_comfy.sources.tree import Say, say_nothing

_POLL_S = 0.1


@contextlib.contextmanager
def one_maker(cache: Cache, key: str, *, what: str = "", say: Say = say_nothing) -> Iterator[None]:
    """Holds the lock of `key`. While another command has it, this waits and says so, naming `what`.

    The lock ends with the process that has it, however that ends.
    """
    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    try:
        cache.tmp.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(cache.tmp / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        # What then cannot be written is told in words when it is needed.
        yield
        return
    try:
        _wait_for(descriptor, what, say)
        yield
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, what: str, say: Say) -> None:
    said = not what
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not said:
                say(f"Waiting for another command that makes {what}")
                said = True
            # Polled, so that a thread of a command that was given up stops waiting.
            if interrupted():
                raise KeyboardInterrupt from None
            time.sleep(_POLL_S)
        except OSError:
            return
        else:
            return
