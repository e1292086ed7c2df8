"""Space on disk: whether there is enough of it, and files that share theirs."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

from comfy_errors import OperationFailedError
from comfy_files.files import nearest_existing
from comfy_files.progress import readable_size

_FICLONE = 0x40049409
"""Linux's ioctl to share the blocks of a file; other systems reject it."""


def require_free(folder: Path, size_bytes: int, *, remedy: str) -> None:
    """Raises OperationFailedError unless `size_bytes` are free where `folder` is or will be."""
    free = shutil.disk_usage(nearest_existing(folder)).free
    if size_bytes > free:
        raise OperationFailedError(
            f"{readable_size(size_bytes)} are needed below {folder}, but only "
            f"{readable_size(free)} are free there",
            remedy=remedy,
        )


def share_blocks(source: Path, target: Path) -> None:
    """Makes `target` a copy that shares the blocks of `source` until one of the two is written to.

    Raises OSError if the system or the file system cannot do that.
    """
    with source.open("rb") as original, target.open("wb") as copy:
        fcntl.ioctl(copy.fileno(), _FICLONE, original.fileno())
