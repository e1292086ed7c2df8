"""Target 2: realize of a home that is whole."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

from benchmarks.contest import Contest
from benchmarks.ours import PROGRAM
from benchmarks.rows import Row, seconds_at_most
from benchmarks.samples import Samples

_RUNS = 9
_NEW_PROCESS = re.compile(r"(?:\bclone3?|\bfork|\bvfork)\((?!.*CLONE_THREAD)")

NOTES = ("2: processes are counted by strace, in a run of its own.",)


def measure(contest: Contest) -> list[Row]:
    """The time of the whole command, and the processes that it starts besides itself."""
    contest.fill_caches()
    contest.say(f"2: nothing to do, {_RUNS} times")
    home = contest.scratch.new("home")
    contest.ours.realize(contest.version, home)
    contest.ours.realize(contest.version, home)
    contest.scratch.settle()
    times = Samples([contest.ours.realize(contest.version, home) for _ in range(_RUNS)])
    row = seconds_at_most(2, "realize, nothing changed", ours=("ours", times), at_most=0.3)
    started = _processes_started(contest, home)
    contest.scratch.drop(home)
    return [
        row,
        Row(
            target=2,
            what="processes that it starts",
            measured="strace is not here" if started is None else str(started),
            wanted="0",
            met=None if started is None else started == 0,
        ),
    ]


def _processes_started(contest: Contest, home: Path) -> int | None:
    """None where strace is not installed."""
    strace = shutil.which("strace")
    if strace is None:
        return None
    trace = contest.scratch.new("trace")
    calls = "trace=clone,clone3,fork,vfork"
    command = (strace, "-f", "-qq", "-e", calls, "-o", str(trace), str(PROGRAM))
    program = replace(contest.ours.program, command=command)
    program.seconds("realize", contest.version, "--target", home)
    return new_processes(trace.read_text())


def new_processes(trace: str) -> int:
    """How many processes, not threads, were begun in the lines that strace wrote."""
    lines = (line for line in trace.splitlines() if "resumed>" not in line)
    return sum(1 for line in lines if _NEW_PROCESS.search(line))
