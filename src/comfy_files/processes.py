"""Programs that run in their own session: what they inherit, and their end with everything they
have started.
"""

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


def inheritable_descriptors() -> tuple[int, ...]:
    """The open files, beside the three standard streams, that programs may inherit: the locks that
    this process holds or was started with.
    """
    found = [int(name) for name in os.listdir("/dev/fd") if int(name) > 2]  # noqa: PTH208
    return tuple(number for number in found if _is_inheritable(number))


def _is_inheritable(descriptor: int) -> bool:
    try:
        return os.get_inheritable(descriptor)
    except OSError:
        # The listing's own, which is closed.
        return False


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # macOS refuses if a group only has ended processes.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
