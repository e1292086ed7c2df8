"""Space on disk: whether there is enough of it."""

from __future__ import annotations

import shutil
from pathlib import Path

from comfy_errors import OperationFailedError
from comfy_files.files import nearest_existing
from comfy_files.progress import readable_size


def require_free(folder: Path, size_bytes: int, *, remedy: str) -> None:
    """Raises OperationFailedError unless `size_bytes` are free where `folder` is or will be."""
    free = shutil.disk_usage(nearest_existing(folder)).free
    if size_bytes > free:
        raise OperationFailedError(
            f"{readable_size(size_bytes)} are needed below {folder}, but only "
            f"{readable_size(free)} are free there",
            remedy=remedy,
        )
