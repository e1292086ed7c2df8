"""Where files can be made: a container may have a root that cannot be written."""

from __future__ import annotations

import os
from pathlib import Path


def can_write(folder: Path) -> bool:
    """Whether files can be made in `folder`, which may have to be made first. Makes nothing."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
