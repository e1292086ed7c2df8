"""How long a worker takes until it is ready for jobs, stage by stage."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import rp_handler
from comfy_files.machine import started_at
from rp_handler.home.open import baked_home


class Boot:
    """Milliseconds of each stage so far. They follow one another, so their sum is the whole time.

    It begins with `container`: from the start of the container's first process, or outside an
    image of this process, until the handler's code began.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self.stages_ms: dict[str, int] = {}
        self._at = rp_handler.BEGAN_S
        is_first = baked_home(variables) is not None and os.getppid() == 1
        began_s = _start_of(1 if is_first else os.getpid())
        if began_s is not None:
            self.stages_ms["container"] = max(0, round((self._at - began_s) * 1000))

    def mark(self, stage: str) -> None:
        """A stage has just ended."""
        now = time.monotonic()
        self.stages_ms[stage] = round((now - self._at) * 1000)
        self._at = now

    @property
    def total_ms(self) -> int:
        return sum(self.stages_ms.values())

    def in_words(self) -> str:
        """One sentence."""
        stages = ", ".join(
            f"{stage.replace('_', '-')} {spent / 1000:.1f}"
            for stage, spent in self.stages_ms.items()
        )
        return f"Ready for jobs after {self.total_ms / 1000:.1f} s ({stages})."


def _start_of(process: int) -> float | None:
    """When a process started, in seconds of the monotonic clock; None where that is not known."""
    if (started_ticks := started_at(process)) is None:
        return None
    try:
        uptime_s = float(Path("/proc/uptime").read_text(encoding="utf-8").split()[0])
        age_s = uptime_s - int(started_ticks) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
    return time.monotonic() - age_s
