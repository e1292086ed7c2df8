"""Stops programs that run in their own session, with everything they have started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess


def end_group(process: subprocess.Popen[bytes], *, grace_s: float) -> None:
    """Stops a process group and its leader: with a signal first, and killed after `grace_s`
    seconds.
    """
    _signal_group(process, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=grace_s)
    # Even if it has ended: processes it started may still run.
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # macOS refuses if a group only has ended processes.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
