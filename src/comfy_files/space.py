"""Space on disk: whether there is enough of it, and files that share theirs."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from comfy_errors import Faults, OperationFailedError
from comfy_files.files import nearest_existing
from comfy_files.progress import readable_size

_FICLONE = 0x40049409
"""Linux's ioctl to share the blocks of a file; other systems reject it."""


def require_room(needs: Iterable[tuple[Path, float]], *, remedy: str) -> None:
    """Raises OperationFailedError unless every disk has room for all that is to be written there.

    `needs` are folders, existing or not, and how many bytes each will get.
    """
    by_disk: dict[int, list[tuple[Path, float]]] = {}
    for folder, size_bytes in needs:
        by_disk.setdefault(disk_of(folder), []).append((folder, size_bytes))
    faults = Faults()
    for here in by_disk.values():
        folder, needed = here[0][0], round(sum(size for _, size in here))
        free = shutil.disk_usage(nearest_existing(folder)).free
        if needed > free:
            faults.add(
                OperationFailedError(
                    f"{readable_size(needed)} are needed below {folder}, but only "
                    f"{readable_size(free)} are free there",
                    remedy=remedy,
                )
            )
    faults.raise_all()


def disk_of(folder: Path) -> int:
    """A number that tells the disk where `folder` is or will be from others."""
    return nearest_existing(folder).stat().st_dev


def size_of(folder: Path) -> int:
    """The bytes in all files below `folder`, 0 if it does not exist."""
    return sum(
        os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118
        for parent, _, names in os.walk(folder)
        for name in names
    )


def share_blocks(source: Path, target: Path) -> None:
    """Makes `target` a copy that shares the blocks of `source` until one of the two is written to.

    Raises OSError if the system or the file system cannot do that.
    """
    with source.open("rb") as original, target.open("wb") as copy:
        fcntl.ioctl(copy.fileno(), _FICLONE, original.fileno())
