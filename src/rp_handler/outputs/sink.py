"""What every sink can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, ClassVar


class OutputSink(ABC):
    """A destination for the outputs of one job. They are only kept if `finish` is called.

    Files are read and written in threads or by asynchronous requests, never in the event loop.
    Several `put` may run at the same time. With `takes_early`, files may also be put while the run
    may still fail, and be put again under their names.
    """

    takes_early: ClassVar[bool] = False

    @abstractmethod
    async def put(self, path: Path, place: PurePath) -> dict[str, Any]:
        """Stores the file at `path` under the name `place`. Returns how to reach it: `type`, and
        the keys of that type.
        """

    async def finish(self, result: Mapping[str, Any]) -> None:  # noqa: B027
        """Stores the result document, after the last file."""

    async def abandon(self) -> None:  # noqa: B027
        """Discards the outputs. Called at the end of every job; does nothing after `finish`."""
