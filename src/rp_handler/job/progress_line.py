"""Progress on a terminal: one line that changes. Nothing at all where there is no terminal."""

from __future__ import annotations

import shutil
from typing import TextIO

from rp_handler.engine.prompt_events import Progress

_ERASE = "\r\x1b[K"


class ProgressLine:
    """Shows progress on `stream`, and lets sentences pass above the line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._shown = False

    def show(self, progress: Progress) -> None:
        """Replaces the line by where the run is now."""
        if not self._is_terminal:
            return
        text = (
            f"[{progress.done + 1}/{max(progress.total, progress.done + 1)}] "
            f"node {progress.node} {progress.class_type}{_steps(progress)}"
        )
        width = shutil.get_terminal_size().columns
        self._stream.write(_ERASE + text[: width - 1])
        self._stream.flush()
        self._shown = True

    def say(self, sentence: str) -> None:
        """Writes a line of its own."""
        self.clear()
        self._stream.write(sentence + "\n")
        self._stream.flush()

    def clear(self) -> None:
        """Takes the line away."""
        if self._shown:
            self._stream.write(_ERASE)
            self._stream.flush()
            self._shown = False


def _steps(progress: Progress) -> str:
    if progress.step is None or not progress.steps:
        return ""
    if progress.steps <= 1:
        return f"  {progress.step / progress.steps:.0%}"
    return f"  step {progress.step:g}/{progress.steps:g}"
