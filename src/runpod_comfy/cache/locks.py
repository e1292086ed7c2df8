"""Locks of the cache. Any number of commands fill it, or one clears it; and what several commands
would make at the same time is made by one of them, while the others wait and take what they find.

A command that only finds all it needs in a home takes no part in this. Nothing breaks where there
are no locks: then an entry is made more than once, and the first one wins.
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
    """Keeps `gc` away for as long as this lasts; others may use the cache at the same time.

    Gives a file descriptor for programs to inherit that write there and may outlive this process.
    None, and no protection, where nothing can be written: no `gc` of this machine can work there.
    """
    waiting = f"Waiting for gc, which clears the cache {cache.root}"
    return _locked(cache.root / IN_USE_NAME, waiting, say, shared=True)


def key_lock(
    cache: Cache, key: str, *, what: str = "", say: Say = say_nothing
) -> contextlib.AbstractContextManager[int | None]:
    """Holds the lock of `key`. While another command has it, this waits and says so, naming `what`.

    The lock ends with the process that has it, however that ends.
    """
    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    waiting = f"Waiting for another command that makes {what}" if what else ""
    return _locked(cache.tmp / f"{name}.lock", waiting, say)


@contextlib.contextmanager
def alone(cache: Cache, say: Say = say_nothing) -> Iterator[None]:
    """Waits until no command uses the cache, and keeps all out for as long as this lasts.

    Raises OperationFailedError where that cannot be had.
    """
    place = cache.root / IN_USE_NAME
    remedy = "Run it where the cache can be written, or choose another one with COMFY_CACHE_ROOT."
    with disk_errors(f"the cache {cache.root} cannot be written", remedy=remedy):
        place.open("ab").close()
    waiting = f"Waiting for the commands that use the cache {cache.root}"
    with _locked(place, waiting, say) as descriptor:
        if descriptor is None:
            raise OperationFailedError(
                f"the file system of {cache.root} has no locks, so nothing tells whether a "
                "command uses the cache",
                remedy=remedy,
            )
        yield


@contextlib.contextmanager
def _locked(place: Path, waiting: str, say: Say, *, shared: bool = False) -> Iterator[int | None]:
    """The descriptor of a locked file; None where it cannot be written or locked."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        # What then cannot be written is reported when it is needed.
        yield None
        return
    try:
        held = lock(descriptor, shared=shared, waiting=waiting, say=say)
        yield descriptor if held else None
    finally:
        os.close(descriptor)
