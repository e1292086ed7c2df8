"""The updates of a job, as RunPod's clients see them in the job's status.

The SDK's `progress_update` starts a thread for each call: updates overtake each other, and one that
comes after the result puts the job back to IN_PROGRESS, for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from rp_handler.interruption import in_thread
from rp_handler.job.live import Update
from rp_handler.sendable import sendable

# Between two updates; what comes faster is merged.
_EVERY_S = 0.3
# How long updates may delay the result. The platform may still receive one that is given up.
_FLUSH_S = 10.0


class ProgressUpdates:
    """Sends updates of the SDK's job `job` in order, the last one before the block ends.

    Use it as `async with ProgressUpdates(job)` in the SDK's loop.
    """

    def __init__(self, job: Mapping[str, Any]) -> None:
        self._job = job
        self._loop = asyncio.get_running_loop()
        self._new = asyncio.Event()
        self._over = asyncio.Event()
        self._latest: Update | None = None
        self._sender: asyncio.Task[None] | None = None

    async def __aenter__(self) -> ProgressUpdates:
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        self._over.set()
        if self._sender is None:
            return
        if kind is None:
            self._new.set()
            await asyncio.wait({self._sender}, timeout=_FLUSH_S)
        self._sender.cancel()
        await asyncio.wait({self._sender})

    def put(self, update: Update) -> None:
        """Sends `update`, unless a newer one replaces it first. Any thread may call this."""
        self._loop.call_soon_threadsafe(self._put, update)

    def _put(self, update: Update) -> None:
        if self._over.is_set():
            return
        self._latest = update
        self._new.set()
        if self._sender is None:
            self._sender = asyncio.ensure_future(self._send_all())

    async def _send_all(self) -> None:
        from runpod.http_client import AsyncClientSession  # type: ignore[import-untyped]
        from runpod.serverless.modules.rp_http import send_result  # type: ignore[import-untyped]

        async with AsyncClientSession() as session:
            while self._latest is not None or not self._over.is_set():
                await self._new.wait()
                self._new.clear()
                latest, self._latest = self._latest, None
                if latest is not None:
                    # It may have to encode pictures.
                    output = sendable(await in_thread(latest))
                    update = {"status": "IN_PROGRESS", "output": output}
                    # It reports other faults in the log. An update that is lost is followed by
                    # another one, or by the result.
                    with contextlib.suppress(TimeoutError, OSError):
                        await send_result(session, update, self._job)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._over.wait(), _EVERY_S)
