"""The rows of the targets 9, 10 and 18, and what the table says where worker-comfyui is absent."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path

from benchmarks import handler_memory, job_times
from benchmarks.handlers import Handler, check_repository, our_handler, their_handler
from benchmarks.processes import free_port
from benchmarks.rows import Row, not_measured
from benchmarks.scratch import Scratch
from benchmarks.straight import Straight
from comfy_errors import UnavailableError

NOTES = {9: job_times.NOTES_9, 10: handler_memory.NOTES, 18: job_times.NOTES_18}


def measure(
    scratch: Scratch, say: Callable[[str], None], targets: Collection[int], *, repository: Path
) -> list[Row]:
    """The rows of those of 9, 10 and 18 that are in `targets`. `repository` is worker-comfyui's."""
    say("9, 10, 18: the handlers")
    port = free_port()
    ours = our_handler(scratch, engine_port=port)
    theirs = None
    try:
        check_repository(repository)
        theirs = their_handler(scratch, repository, engine_port=port)
    except UnavailableError as error:
        say(error.in_words())
    rows = memory_rows(ours, theirs, say) if 10 in targets else []
    if not {9, 18}.isdisjoint(targets):
        rows += _times(ours, theirs, port, say, targets)
    return rows


def memory_rows(ours: Handler, theirs: Handler | None, say: Callable[[str], None]) -> list[Row]:
    why = "Linux counts it" if not handler_memory.can_measure() else "no worker-comfyui"
    if theirs is None or not handler_memory.can_measure():
        wanted = f"≤ {handler_memory.AT_MOST:g}×"
        return [not_measured(10, handler_memory.WHAT, wanted=wanted, why=why)]
    say("10: memory of idle handlers")
    return handler_memory.measure(ours, theirs)


def _times(
    ours: Handler,
    theirs: Handler | None,
    port: int,
    say: Callable[[str], None],
    targets: Collection[int],
) -> list[Row]:
    rows = []
    with ExitStack() as stack:
        posters: dict[str, job_times.Poster] = {}
        for handler in filter(None, (ours, theirs)):
            posters[handler.name] = stack.enter_context(handler.serving())
        posters[job_times.STRAIGHT] = stack.enter_context(Straight(port))
        if 9 in targets:
            say("9: jobs of 512²")
            rows += job_times.rows_of_new(posters)
        if 18 in targets:
            say("18: repeated jobs, and other seeds")
            rows += job_times.rows_of_repeated(posters)
    return rows
