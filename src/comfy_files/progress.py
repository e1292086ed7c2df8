"""How long work says what it does: one sentence at a time, to whoever shows it."""

from __future__ import annotations

from collections.abc import Callable

Say = Callable[[str], None]


def say_nothing(_message: str) -> None:
    """Where progress is not shown."""
