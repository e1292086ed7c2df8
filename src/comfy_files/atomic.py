"""Files and folders that appear whole or not at all, also to a process that is killed."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from comfy_files.locks import lock


def replace_file(
    path: Path, content: bytes, *, workplace: Path | None = None, mode: int = 0o644
) -> None:
    """Writes a file so that a reader sees the old one or the whole new one.

    Several processes may do so at once. What a killed one leaves behind is `.<name>.partial` in
    `workplace`, a folder on the same file system, or beside the file; the next one removes it.
    Raises OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = workplace or path.parent
    folder.mkdir(parents=True, exist_ok=True)
    with _alone_in(folder) as alone:
        handle, partial = _new_file(folder / f".{path.name}.partial", alone=alone)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            partial.chmod(mode)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def place_folder(whole: Path, target: Path) -> None:
    """Renames a finished folder to its final name, unless another process was first with it.

    Both are on one file system, and whatever has that name has the same content. Raises OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        whole.rename(target)
    except OSError:
        if not target.is_dir():
            raise


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[bool]:
    """Waits until nobody else writes a new file in `folder`; False where there are no locks."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        yield False
        return
    try:
        yield lock(descriptor)
    finally:
        os.close(descriptor)


def _new_file(place: Path, *, alone: bool) -> tuple[int, Path]:
    """A new file at `place`, or beside it if another may be writing there or somebody owns it."""
    if alone:
        with contextlib.suppress(OSError):
            place.unlink(missing_ok=True)
            return os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), place
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=f"{place.name}.")
    return handle, Path(name)
