"""Trees without write permission: hard links share a file, and so its mode, with every other tree.

The top folder of such a tree stays writable, because renaming a folder into another one writes to
it.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

_WRITE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


def make_read_only(folder: Path | str) -> None:
    """Takes the write permission from all files and folders below `folder`. Raises OSError."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink():
                continue
            mode = stat.S_IMODE(entry.stat(follow_symlinks=False).st_mode)
            if mode & _WRITE:
                os.chmod(entry.path, mode & ~_WRITE)  # noqa: PTH101
            if entry.is_dir(follow_symlinks=False):
                make_read_only(entry.path)


def remove_tree(folder: Path, *, ignore_errors: bool = False) -> None:
    """Removes `folder` if it exists, also one with read-only folders. Raises OSError."""

    def let_in(function: Callable[..., Any], path: str, failure: Any) -> None:
        error = failure[1]
        if isinstance(error, FileNotFoundError):
            # Another process may be removing the same folder.
            return
        parent = os.path.dirname(path)  # noqa: PTH120
        try:
            if not isinstance(error, PermissionError) or len(parent) < len(str(folder)):
                raise error
            os.chmod(parent, stat.S_IMODE(os.stat(parent).st_mode) | stat.S_IRWXU)  # noqa: PTH101, PTH116
            # Only a removal is tried again: what this could not open, it may not empty either.
            if function not in (os.unlink, os.rmdir):
                raise error
            function(path)
        except FileNotFoundError:
            return
        except OSError:
            if not ignore_errors:
                raise

    shutil.rmtree(folder, onerror=let_in)
