"""A push on a terminal and in a pipe."""

from __future__ import annotations

import io

from runpod_comfy.cli.show.push import PushDisplay
from runpod_comfy.images.registry.push import PushedLayer

SENT = PushedLayer(digest="sha256:" + "a" * 64, how="pushed", size_bytes=1_500_000)
THERE = PushedLayer(digest="sha256:" + "b" * 64, how="existing", size_bytes=None)
MOUNTED = PushedLayer(digest="sha256:" + "c" * 64, how="mounted", size_bytes=None)


def test_in_a_pipe_each_layer_is_a_line_and_nothing_moves() -> None:
    stream = io.StringIO()
    display = PushDisplay(stream, moving=False)

    display.under_way("0/3 layers")
    for layer in (SENT, THERE, MOUNTED):
        display.layer(layer)

    assert stream.getvalue().splitlines() == [
        "  sha256:aaaaaaaaaaaa pushed, 1.5 MB",
        "  sha256:bbbbbbbbbbbb is there already",
        "  sha256:cccccccccccc is mounted",
    ]


def test_on_a_terminal_the_last_line_tells_how_far_all_are_and_goes_in_the_end() -> None:
    stream = io.StringIO()
    display = PushDisplay(stream, moving=True)

    display.under_way("1/3 layers, 1.0 MB of 4.0 MB")
    display.layer(SENT)
    display.under_way("")

    shown = stream.getvalue()
    assert "\r\x1b[K  1/3 layers, 1.0 MB of 4.0 MB\r\x1b[K" in shown
    assert shown.endswith("pushed, 1.5 MB\n\r\x1b[K")


def test_a_line_wider_than_the_terminal_is_cut() -> None:
    stream = io.StringIO()

    PushDisplay(stream, moving=True).under_way("x" * 1000)

    assert len(stream.getvalue()) < 300
