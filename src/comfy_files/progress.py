"""How long-running work reports progress: one sentence at a time, and what arrives, counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Say = Callable[[str], None]


def say_nothing(_message: str) -> None:
    """Where progress is not shown."""


class Progress(Protocol):
    """Counts what arrives, by kind: `trees`, `packages`, `models`. Called from several threads."""

    def expect(self, part: str, *, count: int, size_bytes: int = 0) -> None:
        """So much of a part is still to come."""

    def arrived(self, part: str, *, count: int = 0, size_bytes: int = 0) -> None:
        """So much more of it is here."""


class _Unseen:
    def expect(self, part: str, *, count: int, size_bytes: int = 0) -> None:
        pass

    def arrived(self, part: str, *, count: int = 0, size_bytes: int = 0) -> None:
        pass


UNSEEN: Progress = _Unseen()
"""Progress that is not shown."""
