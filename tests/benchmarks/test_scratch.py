"""The working folder of a benchmark."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from benchmarks.scratch import scratch
from comfy_errors import OperationFailedError


def test_everything_goes_in_the_end_also_after_an_interrupt(tmp_path: Path) -> None:
    with contextlib.suppress(KeyboardInterrupt), scratch(tmp_path, needed_bytes=1) as room:
        room.new("home").mkdir()
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_what_a_killed_benchmark_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "work" / "1-home").mkdir(parents=True)
    with scratch(tmp_path, needed_bytes=1) as room:
        assert list(room.root.iterdir()) == []


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    with scratch(tmp_path, needed_bytes=1) as room:
        with pytest.raises(OperationFailedError, match="another benchmark"):
            scratch(tmp_path, needed_bytes=1).__enter__()
        assert room.root.is_dir()


def test_too_little_room_is_reported_before_anything_is_done(tmp_path: Path) -> None:
    with (
        pytest.raises(OperationFailedError, match="free room"),
        scratch(tmp_path, needed_bytes=10**18),
    ):
        pass
