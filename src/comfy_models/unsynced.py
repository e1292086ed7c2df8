"""Stored files whose bytes the disk may not have written yet.

Waiting for the disk may take longer than the download, so a large file gets its name before that,
and a mark with this start of the machine. If the machine is started again while there is the mark,
perhaps after a power failure, the file is hashed before it is used.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from comfy_files.machine import boot_id

UNSYNCED = ".unsynced"
# Smaller files are waited for.
_LARGE_BYTES = 64 << 20
# Linux writes after 30 s by itself (/proc/sys/vm/dirty_expire_centisecs).
_WRITTEN_AFTER_S = 60.0


def sync_or_mark(descriptor: int, mark: Path) -> None:
    """Waits until the disk has the open file, or marks it if it is large."""
    boot = boot_id()
    if boot is None or os.fstat(descriptor).st_size < _LARGE_BYTES:
        os.fsync(descriptor)
    else:
        mark.write_text(boot, encoding="ascii")


def may_be_lost(mark: Path) -> bool:
    """True if the machine was started again before the disk was known to have the bytes."""
    try:
        return mark.read_bytes() != (boot_id() or "").encode()
    except FileNotFoundError:
        return False
    except OSError:
        return True


def settle(mark: Path, file: Path) -> None:
    """Removes the mark of a file that was written some time ago, once the disk has it."""
    with contextlib.suppress(OSError):
        if may_be_lost(mark) or time.time() - mark.stat().st_mtime < _WRITTEN_AFTER_S:
            return
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
        mark.unlink()
