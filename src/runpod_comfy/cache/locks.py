"""Locks of the cache. Any number of commands may fill it, or one may clear it. If several commands
need the same entry, one makes it while the others wait and then use it.

A command that finds everything in a home takes no lock. Without locks nothing breaks: an entry may
be made more than once, and the first one wins.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from comfy_errors import OperationFailedError
from comfy_files.files import disk_errors, lock
from comfy_files.progress import Say, say_nothing
from runpod_comfy.cache.paths import Cache

IN_USE_NAME = ".in-use"


def using(cache: Cache, say: Say = say_nothing) -> contextlib.AbstractContextManager[int | None]:
    """Keeps `gc` out during the block; other commands may use the cache at the same time.

    Yields a file descriptor to be inherited by programs that write there and may outlive this
    process. Yields None, without protection, if the cache is read-only: no `gc` on this machine can
    work there.
    """
    waiting = f"Waiting for gc, which is clearing the cache {cache.root}"
    return _locked(cache.root / IN_USE_NAME, waiting, say, shared=True)


def key_lock(
    cache: Cache, key: str, *, what: str = "", say: Say = say_nothing
) -> contextlib.AbstractContextManager[int | None]:
    """Holds the lock of `key`. Waits while another command has it, and reports that, naming `what`.

    The lock ends with the process that holds it, however that ends.
    """
    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    waiting = f"Waiting for another command that is making {what}" if what else ""
    return _locked(cache.tmp / f"{name}.lock", waiting, say)


@contextlib.contextmanager
def alone(cache: Cache, say: Say = say_nothing) -> Iterator[None]:
    """Waits until no command uses the cache, and keeps all others out during the block.

    Raises OperationFailedError if that is not possible.
    """
    place = cache.root / IN_USE_NAME
    remedy = (
        "Run it on a machine that can write to the cache, or set COMFY_CACHE_ROOT to another one."
    )
    with disk_errors(f"the cache {cache.root} cannot be written", remedy=remedy):
        place.open("ab").close()
    waiting = f"Waiting for the commands that use the cache {cache.root}"
    with _locked(place, waiting, say) as descriptor:
        if descriptor is None:
            raise OperationFailedError(
                f"the file system of {cache.root} has no locks, so commands that use the cache "
                "cannot be detected",
                remedy=remedy,
            )
        yield


@contextlib.contextmanager
def _locked(place: Path, waiting: str, say: Say, *, shared: bool = False) -> Iterator[int | None]:
    """The descriptor of a locked file; None if it cannot be written or locked."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        # Anything that cannot be written is reported when it is needed.
        yield None
        return
    try:
        held = lock(descriptor, shared=shared, waiting=waiting, say=say)
        yield descriptor if held else None
    finally:
        os.close(descriptor)
