"""Target 14: the time until `--help` has been printed."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from benchmarks.ours import PROGRAM
from benchmarks.processes import Program
from benchmarks.rows import Row, seconds_at_most
from benchmarks.samples import Samples
from benchmarks.scratch import Scratch
from benchmarks.variables import plain_variables

_RUNS = 21
_WARM_UP = 3

NOTES = ("14: beside it the same Python doing nothing, `python -c pass`.",)


def measure(scratch: Scratch) -> list[Row]:
    """Our help and an idle Python in turn, so that both see the same machine."""
    helped: list[float] = []
    idle: list[float] = []
    for _ in range(_WARM_UP + _RUNS):
        helped.append(_program(scratch.root, str(PROGRAM)).seconds("--help"))
        idle.append(_program(scratch.root, sys.executable).seconds("-c", "pass"))
    ours = ("ours", Samples(helped[_WARM_UP:]))
    row = seconds_at_most(14, "runpod-comfy --help", ours=ours, at_most=0.2)
    beside = {"python -c pass": Samples(idle[_WARM_UP:])}
    return [replace(row, samples={**row.samples, **beside})]


def _program(folder: Path, command: str) -> Program:
    return Program(
        command=(command,), variables=plain_variables(), folder=folder, log=folder / "help.log"
    )
