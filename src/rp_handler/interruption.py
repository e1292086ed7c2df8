"""Turns signals into cancellation, so that everything that was started is stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextvars import Context
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from comfy_files.parallel import give_up_with

Result = TypeVar("Result")

# Threads that wait for work. Starting one takes longer than most work.
_idle: list[SimpleQueue[Callable[[], object]]] = []
_IDLE_AT_MOST = 8
SMALL_BYTES = 128 << 10

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def interruptible(main: Coroutine[Any, Any, Result]) -> Result:
    """Runs `main` to its end. SIGINT, SIGTERM and SIGHUP cancel it.

    Raises KeyboardInterrupt after a cancelled `main` has cleaned up.
    """
    if threading.current_thread() is not threading.main_thread():
        return await main
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(main)
    received: list[int] = []

    def interrupt(number: int) -> None:
        received.append(number)
        task.cancel()

    # A signal that is already ignored, as under nohup, stays ignored.
    heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    for number in heard:
        loop.add_signal_handler(number, interrupt, number)
    try:
        return await task
    except asyncio.CancelledError:
        if received:
            raise KeyboardInterrupt from None
        raise
    finally:
        for number in heard:
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def unwinding() -> Iterator[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt here, as SIGINT does."""
    # A signal that is already ignored, as under nohup, stays ignored.
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    heard = [number for number, what in before.items() if what is not signal.SIG_IGN]
    if threading.current_thread() is not threading.main_thread():
        heard = []
    for number in heard:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])


async def by_size(work: Callable[[], Result], size_bytes: int) -> Result:
    """The result of `work` on so much data: run here if that is quicker than to wake a thread."""
    return work() if size_bytes <= SMALL_BYTES else await in_thread(work)


async def in_thread(work: Callable[[], Result], *, grace_s: float = 1.0) -> Result:
    """The result of `work`, run in a thread; once cancelled, `interrupted()` is true there.

    The thread then has `grace_s` seconds to clean up. A thread that waits for a silent server is
    abandoned.
    """
    cancelled = threading.Event()
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def run() -> None:
        give_up_with(cancelled)
        settle: Callable[[], object]
        try:
            settle = partial(done.set_result, work())
        except BaseException as error:
            settle = done.cancel if cancelled.is_set() else partial(done.set_exception, error)
        # An abandoned thread may outlive the loop.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle)

    _hand_over(run)
    try:
        return await asyncio.shield(done)
    finally:
        cancelled.set()
        if not done.done():
            await asyncio.wait({done}, timeout=grace_s)


async def together(works: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    """The results of `works`, run concurrently. If one fails, the others are cancelled."""
    if len(works) == 1:
        return [await works[0]]
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            # A second time, it would cancel what a task does about the first one.
            if not task.cancelling():
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _hand_over(work: Callable[[], object]) -> None:
    """Runs `work`, which does not raise, in a thread that has nothing to do."""
    try:
        waiting = _idle.pop()
    except IndexError:
        waiting = SimpleQueue()
        # A daemon thread does not delay the end of the program, as a thread of the loop's own pool
        # would.
        threading.Thread(target=_work, args=(waiting,), daemon=True).start()
    waiting.put(work)


def _work(waiting: SimpleQueue[Callable[[], object]]) -> None:
    while True:
        # In a context of its own, as in a new thread.
        Context().run(waiting.get())
        if len(_idle) >= _IDLE_AT_MOST:
            return
        _idle.append(waiting)
