"""A line that changes in place, and sentences above it."""

from __future__ import annotations

import io
import time

import pytest

from comfy_files import progress
from comfy_files.progress import Rate, StatusLine, TransferLines, when_slow


def test_a_sentence_is_above_the_status_line_until_that_is_cleared() -> None:
    stream = io.StringIO()
    line = StatusLine(stream, moving=True)
    line.show("models 0/1")
    line.say("Layer torch")
    assert stream.getvalue().endswith("\r\x1b[KLayer torch\nmodels 0/1")
    line.clear()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_a_line_wider_than_the_terminal_is_cut() -> None:
    stream = io.StringIO()
    StatusLine(stream, moving=True).show("x" * 1000)
    assert len(stream.getvalue()) < 300


def test_without_a_terminal_only_sentences_are_written() -> None:
    stream = io.StringIO()
    line = StatusLine(stream)
    line.show("models 0/1")
    line.say("Layer torch")
    line.clear()
    assert stream.getvalue() == "Layer torch\n"


def test_only_what_is_slow_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SLOW_S", 1.0)
    told: list[str] = []
    with when_slow(told.append, "quick"):
        pass
    with when_slow(told.append, "slow"):
        ends = time.monotonic() + 60
        while not told and time.monotonic() < ends:
            time.sleep(0.05)
        assert told == ["slow"]
    time.sleep(0.3)
    assert told == ["slow"]


def test_a_rate_is_that_of_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    rate = Rate()
    assert str(rate) == ""
    for second in range(1, 21):
        now[0] = 100.0 + second
        # Fast at first, then slow.
        rate.note(second * 50_000_000 if second <= 10 else 500_000_000 + second * 1_000_000)
    assert str(rate) == "1.0 MB/s"
    now[0] += 6.0
    assert str(rate) == ""


def test_a_transfer_is_reported_after_a_short_wait_and_then_regularly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    told: list[str] = []
    lines = TransferLines(told.append, "a.bin", 40_000_000)
    for second in range(1, 16):
        now[0] = 100.0 + second
        lines.note(second * 1_000_000)
    assert told == [
        "  a.bin: 3.0 MB of 40.0 MB, 1.0 MB/s",
        "  a.bin: 14.0 MB of 40.0 MB, 1.0 MB/s",
    ]


def test_control_characters_of_a_sentence_are_escapes() -> None:
    stream = io.StringIO()
    line = StatusLine(stream, moving=True)
    line.show("at \x1b[2J")
    line.say("a\tb\x1b]0;x\x07")
    assert "at \\x1b[2J" in stream.getvalue()
    assert "a\tb\\x1b]0;x\\x07\n" in stream.getvalue()
