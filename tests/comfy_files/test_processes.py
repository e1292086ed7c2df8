"""A program is ended with what it has started, whether it listens or not."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from comfy_files.processes import end_group


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("trap", ["", "trap '' TERM; "])
def test_all_of_a_group_is_gone(trap: str) -> None:
    script = f"{trap}(trap '' TERM; sleep 60) & echo $!; {'wait' if trap else 'exit 0'}"
    process = subprocess.Popen(
        ["/bin/sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    end_group(process, grace_s=0.5)
    assert process.returncode is not None
    deadline = time.monotonic() + 10
    while _is_there(child) and time.monotonic() < deadline:
        # Killed, but its new parent has yet to notice.
        time.sleep(0.05)
    assert not _is_there(child)
    end_group(process, grace_s=0.5)
    process.stdout.close()
