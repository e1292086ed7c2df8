"""What a look at the world found: a thing that moved, or one that could not be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from comfy_errors import UnavailableError

Part = Literal["spec", "core", "nodes", "python", "models"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One sentence, and what to do about it. `before` is what the lock has, `after` what there is
    now, where both can be said in a word."""

    part: str
    name: str
    message: str
    remedy: str
    before: str | None = None
    after: str | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one look gave. Nothing in either: all is as it was."""

    moved: tuple[Finding, ...] = ()
    unanswered: tuple[Finding, ...] = ()


def answer(part: Part, name: str, look: Callable[[], Iterable[Finding]]) -> Answer:
    """What `look` finds; an UnavailableError of it means that there was no answer."""
    try:
        return Answer(moved=tuple(look()))
    except UnavailableError as error:
        finding = Finding(part=part, name=name, message=error.message, remedy=error.remedy)
        return Answer(unanswered=(finding,))
