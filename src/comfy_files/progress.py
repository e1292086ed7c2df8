"""How long-running work reports progress: one sentence at a time."""

from __future__ import annotations

from collections.abc import Callable

Say = Callable[[str], None]


def say_nothing(_message: str) -> None:
    """Where progress is not shown."""
