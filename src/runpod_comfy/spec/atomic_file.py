"""A file that is replaced at one stroke, for whoever may read it or be killed at that moment."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def replace_file(path: Path, content: bytes, *, workplace: Path | None = None) -> None:
    """Writes a file so that a reader sees the old one or the whole new one.

    What a killed process leaves behind lies in `workplace`, a folder on the same file system, or
    beside the file under a hidden name. Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    workplace = workplace or path.parent
    workplace.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=workplace, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(partial).chmod(0o644)
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
