"""This project as a contestant: `runpod-comfy` with a cache of its own."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Program, free_port
from benchmarks.variables import plain_variables

PROGRAM = Path(sys.prefix) / "bin" / "runpod-comfy"


@dataclass(frozen=True, kw_only=True)
class Ours:
    """`workspace` is a folder with `versions/` and `lockfiles/`; versions are named by their id."""

    workspace: Path
    cache: Path

    def resolve(self, version: str) -> float:
        return self.program.seconds("resolve", version)

    def realize(self, version: str, home: Path) -> float:
        return self.program.seconds("realize", version, "--target", home)

    def start(self, version: str, home: Path) -> float:
        """Until the engine answers; realizes first where that has not been done."""
        port = free_port()
        arguments = ("run", version, "--target", home, "--ui", "--port", str(port))
        return self.program.seconds_until_ready(*arguments, port=port)

    @property
    def program(self) -> Program:
        return Program(
            command=(str(PROGRAM),),
            variables={**plain_variables(), "COMFY_CACHE_ROOT": str(self.cache)},
            folder=self.workspace,
            log=self.workspace / "ours.log",
        )
