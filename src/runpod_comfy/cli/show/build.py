"""A build as people see it: a line when a step begins and ends, and on a terminal what it says."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from runpod_comfy.cli.show.console import Console
    from runpod_comfy.images.docker.build_progress import BuildShow, BuildStep

_ERASE = "\r\x1b[K"


def build_display(console: Console) -> BuildShow:
    """Lines of their own for `--verbose` and pipes, one line that changes for a terminal."""
    return BuildDisplay(sys.stderr, verbose=console.verbose, moving=console.on_a_terminal)


class BuildDisplay:
    """Shows a build on `stream`. `verbose` shows all output; `moving` its last line, in place."""

    def __init__(self, stream: TextIO, *, verbose: bool, moving: bool) -> None:
        self._stream = stream
        self._verbose = verbose
        self._moving = moving and not verbose

    def started(self, step: str) -> None:
        self._say(f"Building {step}")

    def output(self, step: str, line: str) -> None:
        if self._verbose:
            self._say(f"  {step}: {line}")
        elif self._moving:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(_ERASE + f"  {step}: {line}"[:width])
            self._stream.flush()

    def finished(self, step: BuildStep) -> None:
        self._say(
            f"Kept {step.name}" if step.cached else f"Built {step.name} in {step.seconds:.1f} s"
        )

    def _say(self, sentence: str) -> None:
        self._stream.write(f"{_ERASE if self._moving else ''}{sentence}\n")
        self._stream.flush()
