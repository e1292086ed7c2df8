"""The most GPU memory that an engine used for its tensors, as its start hook reports it.

Only PyTorch in the engine's own process knows the peak; `/system_stats` has single moments.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

_PATIENCE_S = 1.0
_LONGEST_ANSWER_BYTES = 64


class PeakMemory:
    """Asks the hook of one engine, which has the descriptor `theirs`. Close it with the engine."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)

    @property
    def theirs(self) -> int:
        return self._theirs.fileno()

    def handed_over(self) -> None:
        """The engine has its end."""
        self._theirs.close()

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()

    async def ask(self) -> int | None:
        """The peak of one GPU in bytes since the last time, or the start; None if that is not
        known, as on a CPU.
        """
        if self._ours.fileno() < 0:
            return None
        loop = asyncio.get_running_loop()
        answer = b""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await loop.sock_sendall(self._ours, b"?")
                answer = await loop.sock_recv(self._ours, _LONGEST_ANSWER_BYTES)
        except (OSError, TimeoutError):
            return None
        finally:
            if not answer:
                # A late answer would be taken for the next one.
                self.close()
        with contextlib.suppress(ValueError):
            return int(answer)
        return None
