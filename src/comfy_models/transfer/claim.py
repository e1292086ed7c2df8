"""One writer for each partial file, among the processes that share its folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from comfy_files.files import lock
from comfy_files.progress import Say
from comfy_models.transfer.place import Place


@contextmanager
def claimed(place: Place, *, title: str, say: Say) -> Iterator[int]:
    """The descriptor of `place.partial`, which nobody else writes during the block."""
    place.work.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    waiting = f"Waiting for {title}, which another process is downloading"
    while True:
        descriptor = os.open(place.partial, flags, 0o644)
        try:
            lock(descriptor, waiting=waiting, say=say)
            if _is_still(place, descriptor):
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _is_still(place: Place, descriptor: int) -> bool:
    """True if the path still names the open file: the last writer may have renamed it."""
    try:
        return os.path.samestat(place.partial.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
