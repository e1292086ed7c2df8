"""The command line's output: messages on standard error, results on standard output."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from comfy_errors.names import printable
from comfy_files.arrivals import arrivals
from comfy_files.progress import Progress, Say, StatusLine
from comfy_http.logins import faults_said


@dataclass(frozen=True, kw_only=True)
class Console:
    """`as_json` keeps standard output to one JSON document; `verbose` explains each step.

    Control characters in a text are shown as escapes.
    """

    as_json: bool = False
    verbose: bool = False

    @property
    def on_a_terminal(self) -> bool:
        return sys.stderr.isatty()

    @property
    def script_output(self) -> BinaryIO | None:
        """Where scripts' and installers' output goes: only with --verbose."""
        return sys.stderr.buffer if self.verbose else None

    def status_line(self) -> StatusLine:
        """A status line on standard error: on a terminal, without --verbose."""
        return StatusLine(sys.stderr, moving=self.on_a_terminal and not self.verbose)

    @contextlib.contextmanager
    def arrivals(self) -> Iterator[tuple[Say, Progress]]:
        """What to say sentences with and what counts what arrives, for as long as the block
        lasts."""
        with arrivals(self.status_line(), is_seen=not self.verbose) as shown, faults_said(shown[0]):
            yield shown

    def say(self, message: str) -> None:
        """A step, or a message that the user should see."""
        # One write for the whole line: several threads report progress.
        sys.stderr.write(f"{printable(message)}\n")
        sys.stderr.flush()

    def explain(self, message: str) -> None:
        """A detail for --verbose."""
        if self.verbose:
            self.say(message)

    def result(self, text: str, document: object) -> None:
        """The command's result: `text` for the user, `document` for --json.

        A document may hold dataclasses, paths, tuples and sets.
        """
        if self.as_json:
            print(as_json(document))
        elif text:
            print(printable(text))


def as_json(document: object) -> str:
    """One JSON document, as every command with --json prints it.

    What UTF-8 cannot hold, such as bytes in a file's name, are escapes.
    """
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False, default=_plain)
    return text.encode("utf-8", "backslashreplace").decode()


def _plain(value: object) -> Any:
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value):
        # Not `asdict`, which would copy nested values.
        return vars(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} cannot be put in a JSON document")
