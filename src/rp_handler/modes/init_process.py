"""The first process of a container: it forwards signals, reaps orphans, and ends everything in
time.

The kernel drops signals that the first process has no handler for, and makes it the parent of every
orphan. So the actual program runs as a child, with normal signal handling.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from types import FrameType

# Docker and RunPod kill everything some time after asking it to stop. The child gets a little less
# than the 5 seconds that we promise; when the first process ends, so does the container.
_PATIENCE_S = 4.5
_HANDED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_as_init(program: Callable[[], int]) -> int:
    """Runs `program` in a child process; returns its exit code, 128 + n if signal n ended it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _HANDED_ON)
    child = os.fork()
    if child == 0:
        # Its own process group: Ctrl-C at a terminal reaches it once, through us.
        os.setpgid(0, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDED_ON)
        return program()

    def hand_on(number: int, _frame: FrameType | None) -> None:
        _send(child, number)
        # From the first signal on, however many follow.
        if signal.getitimer(signal.ITIMER_REAL)[0] == 0:
            signal.setitimer(signal.ITIMER_REAL, _PATIENCE_S)

    for number in _HANDED_ON:
        signal.signal(number, hand_on)
    signal.signal(signal.SIGALRM, lambda *_: _send(child, signal.SIGKILL))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDED_ON)
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            return 128 - code if code < 0 else code


def _send(process: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)
