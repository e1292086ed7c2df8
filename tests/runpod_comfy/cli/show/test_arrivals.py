"""The one line for everything that arrives, on a terminal."""

from __future__ import annotations

import io

from runpod_comfy.cli.show.arrivals import Display


def test_all_parts_stand_in_one_line_until_they_are_here() -> None:
    stream = io.StringIO()
    display = Display(stream)
    display.expect("trees", count=2)
    display.expect("packages", count=3, size_bytes=3_000_000_000)
    display.arrived("trees", count=1)
    display.arrived("packages", count=1, size_bytes=1_200_000_000)
    assert _last_line(stream) == "trees 1/2 · packages 1/3, 1.2 GB of 3.0 GB"
    display.arrived("trees", count=1)
    assert _last_line(stream) == "packages 1/3, 1.2 GB of 3.0 GB"


def test_a_sentence_stands_above_the_line() -> None:
    stream = io.StringIO()
    display = Display(stream)
    display.expect("models", count=1, size_bytes=5)
    display.say("Layer torch")
    assert "\x1b[KLayer torch\n" in stream.getvalue()
    assert _last_line(stream) == "models 0/1, 0 bytes of 5 bytes"
    display.clear()
    assert _last_line(stream) == ""


def _last_line(stream: io.StringIO) -> str:
    return stream.getvalue().rsplit("\x1b[K", 1)[-1]
