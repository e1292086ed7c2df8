"""Several look-ups or transfers at once, in threads that do not outlive an interruption.

The pools of the standard library finish what is queued, and wait for what is under way, before
Ctrl-C gets through; a fetch of a large repository can take minutes.
"""

from __future__ import annotations

import contextlib
import contextvars
import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

_T = TypeVar("_T")
_R = TypeVar("_R")

# How long those under way have to end what they started, once the command is interrupted.
_GRACE_S = 5.0
_LOOK_S = 0.2

_stop: contextvars.ContextVar[threading.Event | None] = contextvars.ContextVar("stop", default=None)


def interrupted() -> bool:
    """Whether the work that this thread is part of was given up: then end what is under way."""
    event = _stop.get()
    return event is not None and event.is_set()


def give_up_with(event: threading.Event) -> None:
    """Has `interrupted` hold in this thread, and in those that it starts, once `event` is set."""
    _stop.set(event)


def in_parallel(
    work: Callable[[_T], _R], items: Iterable[_T], *, threads: int = 8, give_up: bool = False
) -> list[_R]:
    """What `work` gives for each item, in their order.

    Raises the error of the first item that has one, once all are done; an interruption at once.
    With `give_up` the error that came first ends the others, and is the one that is raised.
    """
    results: dict[int, _R] = {}
    errors: dict[int, BaseException] = {}
    jobs: queue.SimpleQueue[tuple[int, _T]] = queue.SimpleQueue()
    for job in enumerate(items):
        jobs.put(job)
    event = threading.Event()
    # Not `join`: that of Python 3.11, once interrupted, takes a running thread for ended.
    ended: queue.SimpleQueue[None] = queue.SimpleQueue()

    def serve() -> None:
        _stop.set(event)
        with contextlib.suppress(queue.Empty):
            while not event.is_set():
                index, item = jobs.get_nowait()
                try:
                    results[index] = work(item)
                except BaseException as error:
                    errors[index] = error
                    if give_up:
                        event.set()
        ended.put(None)

    running = 0
    try:
        for _ in range(min(threads, jobs.qsize())):
            context = contextvars.copy_context()
            # A daemon does not hold up the end of the program.
            threading.Thread(target=context.run, args=(serve,), daemon=True).start()
            running += 1
        while running:
            with contextlib.suppress(queue.Empty):
                # A signal that comes just before a wait does not end it. Within a thread of
                # another `in_parallel`, that one's interruption counts as well.
                ended.get(timeout=_LOOK_S)
                running -= 1
            if interrupted():
                raise KeyboardInterrupt
    except BaseException:
        event.set()
        deadline = time.monotonic() + _GRACE_S
        with contextlib.suppress(queue.Empty):
            while running:
                ended.get(timeout=max(0.0, deadline - time.monotonic()))
                running -= 1
        raise
    if errors:
        # They are in the order in which they came.
        raise errors[next(iter(errors)) if give_up else min(errors)]
    return [results[index] for index in sorted(results)]
