"""What tells this machine and its processes from others that share its disks."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@cache
def boot_id() -> str | None:
    """An identifier of this start of this machine, the same in all containers; None if the system
    has none.
    """
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def started_at(pid: int) -> str | None:
    """When a process started, in ticks of this machine; None if it does not run or is not seen."""
    try:
        # After the name, which may contain anything: the state, then field 22 of proc(5).
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def this_process() -> str:
    """A name of this process that no other process of this start of the machine has."""
    return f"{os.getpid()}-{started_at(os.getpid())}"
