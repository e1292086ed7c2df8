"""A line that changes in place, and sentences above it."""

from __future__ import annotations

import io

from comfy_files.progress import StatusLine


def test_a_sentence_stands_above_the_line_until_that_is_taken_away() -> None:
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


def test_where_there_is_no_terminal_only_sentences_are_written() -> None:
    stream = io.StringIO()
    line = StatusLine(stream)
    line.show("models 0/1")
    line.say("Layer torch")
    line.clear()
    assert stream.getvalue() == "Layer torch\n"
