"""What is built and pushed, on a terminal and in a pipe."""

from __future__ import annotations

import io

from comfy_files.progress import StatusLine
from runpod_comfy.cli.show.images import BuildDisplay, PushDisplay
from runpod_comfy.images.registry.push import PushedLayer

SENT = PushedLayer(digest="sha256:" + "a" * 64, how="pushed", size_bytes=1_500_000)
THERE = PushedLayer(digest="sha256:" + "b" * 64, how="existing", size_bytes=None)
MOUNTED = PushedLayer(digest="sha256:" + "c" * 64, how="mounted", size_bytes=None)


def test_a_note_of_a_step_stays_and_its_other_output_passes() -> None:
    stream = io.StringIO()
    display = BuildDisplay(StatusLine(stream, moving=False), verbose=False)
    display.output("wheels", "Installed 2 packages")
    display.output("wheels", "Note: a and b both install x.py; that of b is kept")
    assert stream.getvalue() == "  wheels: Note: a and b both install x.py; that of b is kept\n"


def test_in_a_pipe_each_layer_of_a_push_is_a_line_and_nothing_moves() -> None:
    stream = io.StringIO()
    display = PushDisplay(StatusLine(stream, moving=False))

    display.under_way("0/3 layers")
    for layer in (SENT, THERE, MOUNTED):
        display.layer(layer)

    assert stream.getvalue().splitlines() == [
        "  sha256:aaaaaaaaaaaa pushed, 1.5 MB",
        "  sha256:bbbbbbbbbbbb already exists",
        "  sha256:cccccccccccc is mounted",
    ]


def test_on_a_terminal_the_last_line_tells_how_far_all_are_and_goes_in_the_end() -> None:
    stream = io.StringIO()
    display = PushDisplay(StatusLine(stream, moving=True))

    display.under_way("1/3 layers, 1.0 MB of 4.0 MB")
    display.layer(SENT)
    display.under_way("")

    shown = stream.getvalue()
    assert "\r\x1b[K  1/3 layers, 1.0 MB of 4.0 MB\r\x1b[K" in shown
    assert shown.endswith("\r\x1b[K")
    assert "pushed, 1.5 MB\n" in shown


def _last_line(stream: io.StringIO) -> str:
    return stream.getvalue().rsplit("\x1b[K", 1)[-1]
