"""Who works with the cache: any number of commands that fill it, or one that clears it.

A command that only finds all it needs in a home takes no part in this.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from comfy_errors import OperationFailedError
from comfy_files.locks import lock
from comfy_files.progress import Say, say_nothing
from runpod_comfy.cache.paths import Cache

IN_USE_NAME = ".in-use"


@contextlib.contextmanager
def using(cache: Cache, say: Say = say_nothing) -> Iterator[int | None]:
    """Keeps `gc` away for as long as this lasts; others may use the cache at the same time.

    Gives a file descriptor for programs to inherit that write there and may outlive this process.
    None, and no protection, where nothing can be written: no `gc` of this machine can work there.
    """
    try:
        cache.root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(cache.root / IN_USE_NAME, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        # What then cannot be written is told in words when it is needed.
        yield None
        return
    try:
        waiting = f"Waiting for gc, which clears the cache {cache.root}"
        yield descriptor if lock(descriptor, shared=True, waiting=waiting, say=say) else None
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def alone(cache: Cache, say: Say = say_nothing) -> Iterator[None]:
    """Waits until nobody uses the cache, and keeps everyone out for as long as this lasts.

    Raises OperationFailedError where that cannot be had.
    """
    remedy = "Run it where the cache can be written, or choose another one with COMFY_CACHE_ROOT."
    try:
        descriptor = os.open(cache.root / IN_USE_NAME, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise OperationFailedError(
            f"the cache {cache.root} cannot be written: {error}", remedy=remedy
        ) from error
    try:
        waiting = f"Waiting for the commands that use the cache {cache.root}"
        if not lock(descriptor, waiting=waiting, say=say):
            raise OperationFailedError(
                f"the file system of {cache.root} has no locks, so nothing tells whether a "
                "command uses the cache",
                remedy=remedy,
            )
        yield
    finally:
        os.close(descriptor)
