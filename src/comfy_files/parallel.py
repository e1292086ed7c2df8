"""Runs look-ups or transfers in parallel, in threads that do not outlive an interruption.

The thread pools of the standard library finish their queue and wait for running work before Ctrl-C
gets through; fetching a large repository can take minutes.
"""

from __future__ import annotations

import contextlib
import contextvars
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

from comfy_errors import ComfyError, together

_T = TypeVar("_T")
_R = TypeVar("_R")

HASHING_THREADS = 3 * (os.cpu_count() or 1)
"""For reading and hashing files: while some threads wait for the disk, the others hash."""

# How long running threads may take to clean up once the command is interrupted.
_GRACE_S = 5.0
_LOOK_S = 0.2

_stop: contextvars.ContextVar[threading.Event | None] = contextvars.ContextVar("stop", default=None)


def interrupted() -> bool:
    """True if the work that this thread is part of was cancelled; the thread then has to stop."""
    event = _stop.get()
    return event is not None and event.is_set()


def end_if_interrupted() -> None:
    """Raises KeyboardInterrupt if `interrupted`."""
    if interrupted():
        raise KeyboardInterrupt


def give_up_with(event: threading.Event) -> None:
    """Makes `interrupted` true in this thread, and in threads it starts, once `event` is set."""
    _stop.set(event)


def in_parallel(
    work: Callable[[_T], _R], items: Iterable[_T], *, threads: int = 8, give_up: bool = False
) -> list[_R]:
    """The results of `work` for each item, in the order of the items.

    Once all are done, raises one error for all items that failed, or the first item's unless all
    are ComfyErrors; an interruption is raised at once. With `give_up`, the error that happens first
    cancels the rest and is raised.
    """
    results: dict[int, _R] = {}
    errors: dict[int, BaseException] = {}
    jobs: queue.SimpleQueue[tuple[int, _T]] = queue.SimpleQueue()
    for job in enumerate(items):
        jobs.put(job)
    event = threading.Event()
    # Not `join`: in Python 3.11 an interrupted `join` treats a running thread as ended.
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
            # A daemon thread does not delay the end of the program.
            threading.Thread(target=context.run, args=(serve,), daemon=True).start()
            running += 1
        while running:
            with contextlib.suppress(queue.Empty):
                # A signal that arrives just before a wait does not end it. In a thread of an outer
                # `in_parallel`, the interruption of the outer one counts too.
                ended.get(timeout=_LOOK_S)
                running -= 1
            end_if_interrupted()
    except BaseException:
        event.set()
        deadline = time.monotonic() + _GRACE_S
        with contextlib.suppress(queue.Empty):
            while running:
                ended.get(timeout=max(0.0, deadline - time.monotonic()))
                running -= 1
        raise
    if errors:
        failed = [errors[index] for index in sorted(errors)]
        known = [error for error in failed if isinstance(error, ComfyError)]
        if len(known) == len(failed) and not give_up:
            raise together(known)
        # They are in the order in which they happened.
        raise next(iter(errors.values())) if give_up else failed[0]
    return [results[index] for index in sorted(results)]
