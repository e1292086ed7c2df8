"""A push as people see it: a line for each layer, and on a terminal how far all of them are."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from comfy_files.sizes import readable_size

if TYPE_CHECKING:
    from runpod_comfy.cli.show.console import Console
    from runpod_comfy.images.registry.push import PushedLayer

_ERASE = "\r\x1b[K"
_SHOWN_OF_A_DIGEST = len("sha256:") + 12


@contextlib.contextmanager
def push_display(console: Console) -> Iterator[PushDisplay]:
    """Shows a push on standard error for as long as it lasts."""
    display = PushDisplay(sys.stderr, moving=console.on_a_terminal)
    try:
        yield display
    finally:
        display.under_way("")


class PushDisplay:
    """Shows a push on `stream`; `moving` has a last line that changes in place."""

    def __init__(self, stream: TextIO, *, moving: bool) -> None:
        self._stream = stream
        self._moving = moving

    def layer(self, layer: PushedLayer) -> None:
        name = layer.digest[:_SHOWN_OF_A_DIGEST]
        if layer.how == "pushed":
            line = f"  {name} pushed, {readable_size(layer.size_bytes or 0)}"
        else:
            line = f"  {name} {'is there already' if layer.how == 'existing' else 'is mounted'}"
        self._stream.write(f"{_ERASE if self._moving else ''}{line}\n")
        self._stream.flush()

    def under_way(self, sentence: str) -> None:
        if self._moving:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(_ERASE + f"  {sentence}"[:width].rstrip())
            self._stream.flush()
