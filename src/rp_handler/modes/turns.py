"""One job at a time, and what is freed between two jobs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from rp_handler.engine.prompt import Listener
from rp_handler.engine.supervisor import ResidentEngine
from rp_handler.errors import JobError
from rp_handler.variables import is_strict, number_between

ISOLATION = "COMFY_JOB_ISOLATION"
IDLE = "COMFY_IDLE_FREE_S"
_LONGEST_S = 7 * 86400.0


@dataclass(frozen=True, kw_only=True)
class TurnSettings:
    """If `is_isolated`, a job finds nothing of an earlier one. Memory is freed after `idle_s`
    seconds without a job, 0 for never.
    """

    is_isolated: bool = False
    idle_s: float = 0.0


def turn_settings(variables: Mapping[str, str]) -> TurnSettings:
    """What the environment's variables set. Raises InvalidInputError."""
    return TurnSettings(
        is_isolated=is_strict(variables, ISOLATION),
        idle_s=number_between(variables, IDLE, default=0, least=0, most=_LONGEST_S),
    )


class Turns:
    """Use it as `async with Turns(…) as turns`, and each job as `async with turns.next()`."""

    def __init__(self, settings: TurnSettings, engine: ResidentEngine, listener: Listener) -> None:
        self._settings, self._engine, self._listener = settings, engine, listener
        self._lock = asyncio.Lock()
        self._freeing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Turns:
        # A warm-up may have used memory.
        self._free_later()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._freeing is not None:
            self._freeing.cancel()
            await asyncio.wait({self._freeing})

    @contextlib.asynccontextmanager
    async def next(self) -> AsyncIterator[None]:
        """The turn of a job, once those before it are over."""
        async with self._lock:
            if self._freeing is not None:
                # It is waiting: the lock is ours.
                self._freeing.cancel()
            try:
                yield
            finally:
                self._free_later()

    async def isolate(self) -> None:
        """Called in a turn, before its job: with isolation, earlier ones are forgotten.

        Raises EngineCrashedError.
        """
        if self._settings.is_isolated:
            await self._engine.forget()

    def _free_later(self) -> None:
        settings = self._settings
        if settings.is_isolated or settings.idle_s:
            delay_s = 0.0 if settings.is_isolated else settings.idle_s
            self._freeing = asyncio.create_task(self._free(delay_s))

    async def _free(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        async with self._lock:
            # An engine that ends is replaced for the next job.
            with contextlib.suppress(JobError):
                if await self._engine.forget() and not self._settings.is_isolated:
                    sentence = f"No job came for {delay_s:g} s; ComfyUI's memory was freed."
                    self._listener.note("memory_freed", sentence, idle_s=delay_s)
