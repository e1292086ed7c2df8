"""Files on disk: atomic writes, locks between processes, hashes, and disk errors in plain words.

A file or folder appears whole or not at all, even if the process is killed. Locks belong to open
files, so they end with their process, however it ends.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from comfy_errors import OperationFailedError
from comfy_files.parallel import end_if_interrupted
from comfy_files.progress import Say, say_nothing

_POLL_S = 0.05
_CHUNK_BYTES = 1 << 20
# Of a file that is copied, at a time. Linux caches a write in pieces of memory as large as it, and
# large ones can be slow to get in a virtual machine: 2 GB took 3 s by 1 MiB, 0.9 s by 64 KiB.
COPY_BYTES = 64 << 10
# How far the system reads ahead while a file is hashed.
_AHEAD_BYTES = 16 << 20

ROOM_AND_PERMISSIONS = "Check the free space and the permissions there, then run the command again."
PERMISSIONS = "Check the permissions there, then run the command again to finish."
_REASONS = {
    errno.ENOSPC: "disk full",
    errno.EDQUOT: "disk quota exceeded",
    errno.EPERM: "permission denied",
}
_FREE_SPACE = "Free some space there, then run the command again."
_CHECK_PERMISSIONS = "Check the permissions there, then run the command again."
_MOVE_AWAY = "Move that file or folder away, or name another place, then run it again."
_REMEDIES = {
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EACCES: _CHECK_PERMISSIONS,
    errno.EPERM: _CHECK_PERMISSIONS,
    errno.EROFS: "Name a folder that you can write to, then run the command again.",
    errno.ENOTDIR: _MOVE_AWAY,
    errno.EISDIR: _MOVE_AWAY,
    errno.EEXIST: _MOVE_AWAY,
}


class Below:
    """An attribute that is a fixed path below the object's `root`."""

    def __init__(self, inner: str) -> None:
        self._inner = inner

    def __get__(self, holder: Any, _owner: type) -> Path:
        return Path(holder.root, self._inner)


def replace_file(
    path: Path, content: bytes, *, workplace: Path | None = None, mode: int = 0o644
) -> None:
    """Writes a file atomically: a reader sees the old content or the new content.

    Several processes may write the same file at once. A killed process leaves `.<name>.partial` in
    `workplace`, a folder on the same file system, or beside the file; the next writer removes it.
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
    """Renames a finished folder to its final name, unless another process did so first.

    Both paths are on one file system, and a folder that already has the name has the same content.
    Raises OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        whole.rename(target)
    except OSError:
        if not target.is_dir():
            raise


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[bool]:
    """Waits until no other process writes in `folder`; False if the file system has no locks."""
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
    """A new file at `place`, or beside it if that name is in use or owned by another user."""
    if alone:
        with contextlib.suppress(OSError):
            place.unlink(missing_ok=True)
            return os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), place
    handle, name = tempfile.mkstemp(dir=place.parent, prefix=f"{place.name}.")
    return handle, Path(name)


def lock(
    descriptor: int,
    *,
    shared: bool = False,
    waiting: str | Callable[[], str] = "",
    say: Say = say_nothing,
) -> bool:
    """Takes the lock of an open file, and says `waiting` if it has to wait.

    False if the file system has no locks. Raises KeyboardInterrupt if this thread's work is
    cancelled.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting:
                say(waiting if isinstance(waiting, str) else waiting())
                waiting = ""
            end_if_interrupted()
            time.sleep(_POLL_S)
        except OSError:
            return False
        else:
            return True


def is_locked(path: Path) -> bool:
    """True if a process holds the lock of this file. Raises OSError."""
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def digest_of(content: bytes) -> str:
    """`sha256:` and 64 hex digits."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def digests_of(paths: Iterable[Path]) -> dict[str, str | None]:
    """The digest of each file's content by its path, None for one that cannot be read."""
    found: dict[str, str | None] = {}
    for path in paths:
        try:
            found[str(path)] = digest_of(path.read_bytes())
        except OSError:
            found[str(path)] = None
    return found


def sha256_of(path: Path, *, counted: Callable[[int], object] = lambda _: None) -> str:
    """The sha256 of a file's bytes, as 64 hex digits; `counted` gets the bytes of each chunk read.

    Raises OSError, and KeyboardInterrupt if this thread's work is cancelled.
    """
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as stream:
        size_bytes = os.fstat(stream.fileno()).st_size
        # One byte more, so that the end of a small file is seen without another buffer.
        buffer = memoryview(bytearray(min(_CHUNK_BYTES, size_bytes + 1)))
        position = 0
        while count := stream.readinto(buffer):
            end_if_interrupted()
            position += count
            if position + _AHEAD_BYTES < size_bytes:
                _read_ahead(stream, position + _AHEAD_BYTES)
            digest.update(buffer[:count])
            counted(count)
    return digest.hexdigest()


def _read_ahead(stream: BinaryIO, position: int) -> None:
    """Has the system read a chunk at `position` while others are hashed, where it can."""
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            os.posix_fadvise(stream.fileno(), position, _CHUNK_BYTES, os.POSIX_FADV_WILLNEED)


def write_hashed(chunks: Iterable[bytes], target: BinaryIO) -> tuple[str, int]:
    """Writes all chunks to `target` and flushes it. Returns sha256 (64 hex digits) and size."""
    digest = hashlib.sha256()
    size_bytes = 0
    for chunk in chunks:
        digest.update(chunk)
        target.write(chunk)
        size_bytes += len(chunk)
    target.flush()
    return digest.hexdigest(), size_bytes


@contextlib.contextmanager
def disk_errors(failed: str, *, remedy: str = ROOM_AND_PERMISSIONS) -> Iterator[None]:
    """Raises OperationFailedError in place of OSError: `failed`, then the reason."""
    try:
        yield
    except OSError as error:
        if remedy in (ROOM_AND_PERMISSIONS, PERMISSIONS):
            remedy = os_remedy(error, otherwise=remedy)
        raise OperationFailedError(f"{failed}: {os_reason(error)}", remedy=remedy) from error


def os_reason(error: Exception) -> str:
    """Why a file operation failed, and for which file: `disk full: /srv/cache/tmp/x`.

    Errors that do not come from the operating system keep their own message.
    """
    if isinstance(error, shutil.Error):
        error = _first_failure(error)
    if not isinstance(error, OSError) or error.errno is None:
        return str(error)
    words = _REASONS.get(error.errno) or error.strerror or str(error)
    reason = words[:1].lower() + words[1:]
    path = error.filename2 or error.filename
    return f"{reason}: {path}" if path is not None else reason


def os_remedy(error: OSError, *, otherwise: str = "") -> str:
    """What to do about a file operation that failed."""
    if isinstance(error, shutil.Error):
        error = _first_failure(error)
    return _REMEDIES.get(error.errno or 0, otherwise)


def _first_failure(error: shutil.Error) -> OSError:
    """The first error of `shutil.copytree`, which keeps only paths and texts."""
    _, target, text = error.args[0][0]
    found = re.match(r"\[Errno (\d+)\] [^:]*(?:: '(.*?)')?", text)
    if found is None:
        return OSError(f"{text}: {target}")
    return OSError(int(found[1]), os.strerror(int(found[1])), found[2] or str(target))


def children(folder: Path) -> list[Path]:
    """The entries of a folder, sorted; none if the folder does not exist."""
    return sorted(folder.iterdir()) if folder.is_dir() else []


def nearest_existing(path: Path) -> Path:
    """The path itself, or the nearest parent that exists."""
    return next(place for place in (path, *path.absolute().parents) if place.exists())


def can_write(folder: Path) -> bool:
    """True if files can be created in `folder`, or in a new folder there. Creates nothing."""
    there = nearest_existing(folder)
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
