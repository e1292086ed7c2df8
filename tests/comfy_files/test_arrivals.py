"""What arrives, on a terminal and in a pipe."""

from __future__ import annotations

import io

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
    assert _last_line(stream).endswith("B/s")


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


def _last_line(stream: io.StringIO) -> str:
    return stream.getvalue().rsplit("\x1b[K", 1)[-1]
