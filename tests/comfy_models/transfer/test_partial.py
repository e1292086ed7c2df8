from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_models.transfer.journal import Form
from comfy_models.transfer.partial import PartialFile
from comfy_models.transfer.place import Place, open_own, outside_store

FORM = Form(size_bytes=25, part_bytes=10)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return outside_store(tmp_path / "x", "key")


@pytest.fixture
def partial(place: Place) -> Iterator[PartialFile]:
    descriptor = open_own(place.partial)
    partial = PartialFile(place, descriptor, FORM, lambda: None)
    yield partial
    partial.close()
    os.close(descriptor)


def test_parts_are_taken_in_their_order(partial: PartialFile) -> None:
    generation = partial.retake()
    assert [partial.take(generation) for _ in range(4)] == [(0, 10), (10, 20), (20, 25), None]
    partial.release(generation, 1)
    assert partial.take(generation, after=1) is None
    assert partial.take(generation, after=0) == (10, 20)


def test_the_prefix_grows_as_gaps_are_closed(partial: PartialFile) -> None:
    generation = partial.retake()
    continued: list[tuple[int, bytes]] = []
    partial.in_order = lambda offset, chunk: continued.append((offset, chunk))
    partial.write(generation, 10, b"bbbbbbbbbb")
    assert (partial.prefix, partial.received_bytes) == (0, 10)
    partial.write(generation, 0, b"aaaa")
    assert partial.prefix == 4
    partial.write(generation, 4, b"aaaaaa")
    assert partial.prefix == 20
    assert continued == [(0, b"aaaa"), (4, b"aaaaaa")]
    assert not partial.is_whole
    partial.write(generation, 20, b"ccccc")
    assert partial.is_whole


def test_what_is_missing_is_known_to_the_next_process(partial: PartialFile, place: Place) -> None:
    generation = partial.retake()
    partial.write(generation, 0, b"aaaa")
    partial.write(generation, 20, b"ccccc")
    descriptor = open_own(place.partial)
    again = PartialFile(place, descriptor, FORM, lambda: None)
    generation = again.retake()
    assert (again.prefix, again.received_bytes) == (4, 9)
    assert [again.take(generation) for _ in range(3)] == [(4, 10), (10, 20), None]
    again.close()
    os.close(descriptor)


def test_what_comes_late_is_refused(partial: PartialFile, place: Place) -> None:
    generation = partial.retake()
    assert partial.take(generation)
    later = partial.retake()
    assert not partial.write(generation, 0, b"late")
    assert partial.take(generation) is None
    assert partial.take(later) == (0, 10)
    partial.release(generation, 0)
    assert partial.take(later) == (10, 20)
    assert place.partial.read_bytes() == b""


def test_a_fresh_start_forgets_all_bytes(partial: PartialFile, place: Place) -> None:
    partial.write(partial.generation, 0, b"aaaa")
    partial.restart()
    assert (partial.prefix, partial.received_bytes) == (0, 0)
    assert place.partial.read_bytes() == b""


def test_one_request_is_for_parts_that_nobody_has_begun(partial: PartialFile) -> None:
    generation = partial.retake()
    assert partial.take(generation)
    assert [partial.free_until(0, at_most=it) for it in (0, 10, 11, 21)] == [10, 10, 20, 25]
    partial.write(generation, 20, b"c")
    assert partial.free_until(0, at_most=25) == 20
