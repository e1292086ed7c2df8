"""What several commands would make at the same time in a cache is made by one of them.

The others wait and then take what they find. Nothing breaks where there are no locks: then it is
made more than once, and the first one wins.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator

from comfy_files.locks import lock
from comfy_files.progress import Say, say_nothing
from runpod_comfy.cache.paths import Cache


@contextlib.contextmanager
def key_lock(cache: Cache, key: str, *, what: str = "", say: Say = say_nothing) -> Iterator[None]:
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
        waiting = f"Waiting for another command that makes {what}" if what else ""
        lock(descriptor, waiting=waiting, say=say)
        yield
    finally:
        os.close(descriptor)
