"""What arrives while a realization fetches, counted for a progress display."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, Protocol

from runpod_comfy.realize.environment.packages import NeededFile

Part = Literal["trees", "packages", "models"]


class Progress(Protocol):
    """Told from several threads."""

    def expect(self, part: Part, *, count: int, size_bytes: int = 0) -> None:
        """So much of a part is still to come."""

    def arrived(self, part: Part, *, count: int = 0, size_bytes: int = 0) -> None:
        """So much more of it is here."""


class Unseen:
    """Progress that nobody looks at."""

    def expect(self, part: Part, *, count: int, size_bytes: int = 0) -> None:
        pass

    def arrived(self, part: Part, *, count: int = 0, size_bytes: int = 0) -> None:
        pass


UNSEEN = Unseen()


class Downloads:
    """The packages that uv says it has downloaded; it names those above a megabyte."""

    _LINE = re.compile(rb"^ ?Downloaded (\S+)")

    def __init__(self, packages: Sequence[NeededFile], progress: Progress) -> None:
        self._sizes = _sizes(packages)
        self._progress = progress
        self._rest = b""
        progress.expect("packages", count=len(self._sizes), size_bytes=sum(self._sizes.values()))

    def hear(self, output: bytes) -> None:
        """Takes in what an installer prints, in pieces as they come."""
        *lines, self._rest = (self._rest + output).split(b"\n")
        for line in lines:
            if found := self._LINE.match(line):
                self._arrive(_normal(found.group(1).decode("utf-8", "replace")))

    def finish(self) -> None:
        """All of them are installed."""
        for name in list(self._sizes):
            self._arrive(name)

    def _arrive(self, name: str) -> None:
        size = self._sizes.pop(name, None)
        if size is not None:
            self._progress.arrived("packages", count=1, size_bytes=size)


def _sizes(packages: Sequence[NeededFile]) -> dict[str, int]:
    return {_normal(each.distribution.split(" ")[0]): each.size_bytes or 0 for each in packages}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
