"""What arrives, on a terminal and in a pipe."""

from __future__ import annotations

import io
import re

import pytest

from comfy_files.arrivals import ArrivalsDisplay
from comfy_files.progress import StatusLine


def test_all_parts_stand_in_one_line_until_they_are_here() -> None:
    stream = io.StringIO()
    display = ArrivalsDisplay(StatusLine(stream, moving=True))
    display.expect("trees", count=2)
    display.expect("packages", count=3, size_bytes=3_000_000_000)
    display.arrived("trees", count=1)
    display.arrived("packages", count=1, size_bytes=1_200_000_000)
    assert _last_line(stream).startswith("trees 1/2 · packages 1/3, 1.2 GB of 3.0 GB, ")
    display.arrived("trees", count=1)
    assert _last_line(stream).startswith("packages 1/3, 1.2 GB of 3.0 GB, ")
    assert _last_line(stream).endswith(" left")


def test_each_file_that_is_followed_has_a_bar_above_the_total(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    stream = io.StringIO()
    display = ArrivalsDisplay(StatusLine(stream, moving=True))
    display.expect("models", count=2, size_bytes=3_000_000)
    with (
        display.file("models", "loras/a.gguf", size_bytes=2_000_000) as first,
        display.file("models", f"{'folder/' * 9}b.gguf", size_bytes=None) as second,
    ):
        now[0] += 2.0
        first(1_500_000)
        second(500_000)
        display.refresh()
        *bars, total = _screen(stream)
        assert bars == [
            "  loras/a.gguf              █████████░░░  75%    2.0 MB  750.0 kB/s  0:01 left",
            "  …er/folder/folder/b.gguf  500.0 kB  250.0 kB/s",
        ]
        assert total == "models 0/2, 2.0 MB of 3.0 MB, 1.0 MB/s, 0:01 left"
        display.arrived("models", count=1)
    display.refresh()
    assert _screen(stream) == ["models 1/2, 2.0 MB of 3.0 MB, 1.0 MB/s, 0:01 left"]


def test_what_is_lost_is_taken_from_the_bar_and_the_total() -> None:
    stream = io.StringIO()
    display = ArrivalsDisplay(StatusLine(stream, moving=True))
    display.expect("models", count=1, size_bytes=2_000_000)
    with display.file("models", "a", size_bytes=2_000_000) as count:
        count(1_000_000)
        count(-1_000_000)
        display.refresh()
        bar, total = _screen(stream)
        assert " 0%" in bar
        assert total.startswith("models 0/1, 0 bytes of 2.0 MB")


def test_in_a_pipe_files_have_no_bars() -> None:
    stream = io.StringIO()
    display = ArrivalsDisplay(StatusLine(stream, moving=False))
    display.expect("models", count=1, size_bytes=2_000_000)
    with display.file("models", "a.gguf", size_bytes=2_000_000) as count:
        count(1_000_000)
        display.refresh()
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("  models 0/1, 1.0 MB of 2.0 MB")


def test_in_a_pipe_a_line_is_written_now_and_then() -> None:
    stream = io.StringIO()
    display = ArrivalsDisplay(StatusLine(stream, moving=False))
    display.refresh()
    display.expect("packages", count=3, size_bytes=3_000_000_000)
    display.arrived("packages", count=1, size_bytes=1_200_000_000)
    assert stream.getvalue() == ""
    display.refresh()
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("  packages 1/3, 1.2 GB of 3.0 GB, ")
    display.arrived("packages", count=2, size_bytes=1_800_000_000)
    display.refresh()
    assert len(stream.getvalue().splitlines()) == 1


def _screen(stream: io.StringIO) -> list[str]:
    """The lines that a terminal shows."""
    lines = [""]
    for part in re.findall(r"\x1b\[1A|\x1b\[2K|\x1b\[K|[\r\n]|[^\x1b\r\n]+", stream.getvalue()):
        if part == "\x1b[1A":
            # What is below the cursor was erased before.
            assert lines.pop() == ""
        elif part in ("\x1b[2K", "\x1b[K"):
            lines[-1] = ""
        elif part == "\n":
            lines.append("")
        elif part != "\r":
            lines[-1] += part
    return lines


def _last_line(stream: io.StringIO) -> str:
    return stream.getvalue().rsplit("\x1b[K", 1)[-1]
