from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_models.transfer.following_hash import FollowingHash
from comfy_models.transfer.journal import Form
from comfy_models.transfer.partial import PartialFile
from comfy_models.transfer.place import open_own, outside_store

CONTENT = random.Random(3).randbytes(100_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PART = 10_000


@pytest.fixture
def partial(tmp_path: Path) -> Iterator[PartialFile]:
    place = outside_store(tmp_path / "x", "key")
    descriptor = open_own(place.partial)
    form = Form(size_bytes=len(CONTENT), part_bytes=PART)
    partial = PartialFile(place, descriptor, form, lambda: None)
    yield partial
    partial.close()
    os.close(descriptor)


def _write(partial: PartialFile, start: int, end: int) -> None:
    partial.write(partial.generation, start, CONTENT[start:end])


def test_parts_may_arrive_in_any_order(partial: PartialFile) -> None:
    hashing = FollowingHash(partial)
    starts = list(range(0, len(CONTENT), PART))
    random.Random(4).shuffle(starts)
    for start in starts:
        for at in range(start, start + PART, 1000):
            _write(partial, at, at + 1000)
    assert hashing.result() == SHA256


def test_what_an_earlier_process_left_is_read_once(
    partial: PartialFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(partial, 0, PART)
    _write(partial, PART, PART + 500)
    read: list[tuple[int, int]] = []

    def pread(descriptor: int, size: int, offset: int) -> bytes:
        read.append((offset, size))
        return real(descriptor, size, offset)

    real = os.pread
    monkeypatch.setattr("comfy_models.transfer.following_hash.os.pread", pread)
    hashing = FollowingHash(partial)
    while hashing.hashed_bytes < PART + 500:
        pass
    for start in range(PART + 500, len(CONTENT), 500):
        _write(partial, start, start + 500)
    assert hashing.result() == SHA256
    assert sum(size for offset, size in read if offset < PART + 500) == PART + 500


def test_a_file_that_somebody_cuts_short_is_an_error(partial: PartialFile) -> None:
    _write(partial, 0, PART)
    os.ftruncate(partial.descriptor, 0)
    hashing = FollowingHash(partial)
    with pytest.raises(OSError, match="cut short"):
        hashing.result()


def test_an_empty_file_has_a_hash(tmp_path: Path) -> None:
    place = outside_store(tmp_path / "x", "key")
    descriptor = open_own(place.partial)
    partial = PartialFile(place, descriptor, Form(size_bytes=0, part_bytes=PART), lambda: None)
    assert FollowingHash(partial).result() == hashlib.sha256(b"").hexdigest()
    partial.close()
    os.close(descriptor)
