"""What the command line says and where: people on standard error, results on standard output."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Console:
    """`as_json` keeps standard output to one JSON document; `verbose` explains each step."""

    as_json: bool = False
    verbose: bool = False

    @property
    def on_a_terminal(self) -> bool:
        return sys.stderr.isatty()

    def say(self, message: str) -> None:
        """A step, or something that a person should know."""
        # One write for the whole line: several threads tell of their progress.
        sys.stderr.write(f"{message}\n")
        sys.stderr.flush()

    def explain(self, message: str) -> None:
        """A detail for --verbose."""
        if self.verbose:
            self.say(message)

    def result(self, text: str, document: dict[str, Any]) -> None:
        """The command's result: `text` for people, `document` for --json."""
        if self.as_json:
            print(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False))
        elif text:
            print(text)
