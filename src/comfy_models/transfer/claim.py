"""One writer for each partial file, among all processes and machines that share its folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from comfy_files.files import lock
from comfy_files.progress import Say
from comfy_models.transfer.lease import Lease, take_lease
from comfy_models.transfer.place import Place, open_own


class LostError(Exception):
    """Another machine took this one for dead, and writes the file now."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """`descriptor` is of the partial file of `place`."""

    place: Place
    descriptor: int
    lease: Lease

    def require(self, *, now: bool = False) -> None:
        """Raises LostError unless the file is still ours to write; with `now`, looks again."""
        if now:
            self.lease.beat()
        if not self.lease.holds():
            raise LostError


@contextmanager
def claimed(place: Place, *, title: str, say: Say) -> Iterator[Claim | None]:
    """The right to write `place.partial`, which no other process has during the block. None if the
    file has its final name by now.

    Processes of one machine exclude each other by the lock of the partial file, which ends with its
    process; machines do by the lease.
    """
    place.work.mkdir(parents=True, exist_ok=True)
    said: set[str] = set()

    def once(sentence: str) -> None:
        if sentence not in said:
            said.add(sentence)
            say(sentence)

    # The process may be this one: a version may name one file twice.
    by_process = f"Waiting for {title}, which is already being downloaded"
    by_machine = f"Waiting for {title}, which another machine is downloading"

    while not place.is_done():
        descriptor = open_own(place.partial)
        try:
            is_locked = lock(descriptor, waiting=by_process, say=once)
            if not _is_still(place, descriptor):
                continue
            lease = take_lease(
                place.lease,
                is_locked=is_locked,
                is_done=place.is_done,
                wait=lambda: once(by_machine),
            )
            if lease is None:
                _tidy(place)
                continue
            try:
                if _is_still(place, descriptor) and not place.is_done():
                    yield Claim(place=place, descriptor=descriptor, lease=lease)
                    return
                _tidy(place)
            finally:
                lease.end()
        finally:
            os.close(descriptor)
    yield None


def _tidy(place: Place) -> None:
    """Removes what this process made while the file got its final name."""
    if place.is_done():
        place.discard()


def _is_still(place: Place, descriptor: int) -> bool:
    """True if the path still names the open file: the last writer may have renamed it."""
    try:
        return os.path.samestat(place.partial.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
