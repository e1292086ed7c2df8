"""Checks that a file is the model that is needed: its size, and its sha256 unless already known.

Hashes are remembered, so that gigabytes are not read at every start.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from comfy_files.files import replace_file, sha256_of
from comfy_models.store import MEMORY_NAME as MEMORY_NAME
from comfy_models.store import ModelStore, names_stored

if TYPE_CHECKING:
    from comfy_models.model_file import ModelFile

# sha256, then the file's identity: device, inode, size in bytes, mtime and ctime in nanoseconds.
_ENTRY = re.compile(rb"^([0-9a-f]{64}) (\d{1,20}:\d{1,20}):(\d{1,20}:-?\d{1,20}:-?\d{1,20})$", re.M)
_LINE_BYTES = 150
_LARGEST_MEMORY = 1 << 25
_MOST_ENTRIES = 100_000
# With less that is outdated, a file is not worth being written again.
_OUTDATED_BYTES = 200_000


def fault_of(
    path: Path,
    model: ModelFile,
    memory: HashMemory,
    *,
    always_hash: bool = False,
    counted: Callable[[int], object] = lambda _: None,
) -> str | None:
    """Why `path` is not `model`, as the end of a sentence that starts with the path; None if it is.

    The file is hashed unless its size is wrong, `memory` knows it, or it is in a store under its
    sha256 and the memory trusts stores; with `always_hash` also in the last two cases. `counted`
    gets the bytes of each chunk that is read. Raises KeyboardInterrupt if this thread's work is
    cancelled.
    """
    try:
        if not path.is_file():
            return _absence(path)
        status = path.stat()
        if status.st_size != model.size:
            return f"has {status.st_size} bytes, not {model.size}"
        sha256 = memory.recall_status(status)
        if sha256 is None and memory.trusts_stores:
            sha256 = names_stored(os.path.realpath(path))
        if sha256 is None or always_hash:
            sha256 = memory.hash_of(path, counted=counted)
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if sha256 == model.sha256 else f"has sha256 {sha256}, not {model.sha256}"


def is_circular(path: Path) -> bool:
    """True if links lead from `path`, or from a folder above it, in a circle."""
    try:
        path.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def _absence(path: Path) -> str:
    if is_circular(path):
        return "is reached through links that lead in a circle"
    if path.is_symlink():
        return f"links to {os.readlink(path)}, which does not exist"  # noqa: PTH115
    return "is not a file" if path.exists() else "does not exist"


def store_memory(store: ModelStore, *folders: Path, trusts_stores: bool = False) -> HashMemory:
    """What is known of the files in a store, and in models folders with links to it."""
    files = [root / MEMORY_NAME for root in (store.root, *folders)]
    return HashMemory(files, trusts_stores=trusts_stores)


class HashMemory:
    """The sha256 of files, by device, inode, size and times, so that a changed file is hashed
    again. For several threads.

    Read from every one of `files` that exists. An entry is saved in the first that is writable,
    preferably one above its file. A file of the memory has a line for each entry, and a later line
    counts more than an earlier one. Several processes may add lines at once, and one may be killed
    meanwhile: a line that is lost or broken only means that a file is hashed again.

    If it `trusts_stores`, a file in a store that is not known has the sha256 in its name.
    """

    def __init__(self, files: Sequence[Path], *, trusts_stores: bool = True) -> None:
        self._files = files
        self.trusts_stores = trusts_stores
        self._known: dict[bytes, str] = {}
        self._new: list[tuple[Path, bytes]] = []
        self._outdated: set[Path] = set()
        self._lock = threading.Lock()
        for file in files:
            content = _read(file)
            current = _entries(content)
            self._known.update(
                (b"%s:%s" % (inode, state), sha256.decode())
                for inode, (state, sha256) in current.items()
            )
            if len(content) > 2 * _LINE_BYTES * len(current) + _OUTDATED_BYTES:
                self._outdated.add(file)

    def recall(self, path: Path) -> str | None:
        """The remembered sha256 of the file, None if it was never hashed or has changed since."""
        return self.recall_status(path.stat())

    def recall_status(self, status: os.stat_result) -> str | None:
        """As `recall`, by the file's status."""
        return self._known.get(_identity(status))

    def hash_of(self, path: Path, *, counted: Callable[[int], object] = lambda _: None) -> str:
        """The sha256 of the file, read now, and remembered unless the file changed meanwhile.

        Raises OSError, and KeyboardInterrupt if this thread's work is cancelled.
        """
        before = _identity(path.stat())
        self._known.pop(before, None)
        sha256 = sha256_of(path, counted=counted)
        if _identity(path.stat()) == before:
            self.remember(path, sha256)
        return sha256

    def remember(self, path: Path, sha256: str) -> None:
        identity = _identity(path.stat())
        with self._lock:
            self._known[identity] = sha256
            self._new.append((path, _line(sha256, identity)))

    def keep(self, path: Path, sha256: str) -> None:
        """Remembers and saves: for a file that was hashed while it was written, once it has its
        final name and mode.
        """
        self.remember(path, sha256)
        self.save()

    def save(self) -> None:
        """Saves new entries. Failing to is not an error: it costs time at the next start."""
        with self._lock:
            while self._outdated:
                _write_again(self._outdated.pop())
            by_places: dict[tuple[Path, ...], list[bytes]] = {}
            for path, line in self._new:
                # Those above the file first.
                order = sorted(self._files, key=lambda file: not path.is_relative_to(file.parent))
                by_places.setdefault(tuple(order), []).append(line)
            for places, lines in by_places.items():
                any(_append(place, b"".join(lines)) for place in places)
            self._new.clear()


def _identity(status: os.stat_result) -> bytes:
    times = f"{status.st_mtime_ns}:{status.st_ctime_ns}"
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{times}".encode()


def _line(sha256: str, identity: bytes) -> bytes:
    return b"%s %s\n" % (sha256.encode(), identity)


def _entries(content: bytes) -> dict[bytes, tuple[bytes, bytes]]:
    """The last state of each device and inode, and its sha256."""
    return {inode: (state, sha256) for sha256, inode, state in _ENTRY.findall(content)}


def _read(file: Path) -> bytes:
    """The newest part of a memory; nothing if no file that may be ours is there."""
    try:
        # A pipe would never end.
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        with open(descriptor, "rb") as stream:  # noqa: PTH123
            status = os.fstat(descriptor)
            # In a folder like /tmp, another user may have made it.
            owners = (0, os.getuid(), file.parent.stat().st_uid)
            if not stat.S_ISREG(status.st_mode) or status.st_uid not in owners:
                return b""
            stream.seek(max(0, status.st_size - _LARGEST_MEMORY))
            return stream.read(_LARGEST_MEMORY)
    except OSError:
        return b""


def _append(file: Path, lines: bytes) -> bool:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        with open(os.open(file, flags, 0o644), "ab", buffering=0) as stream:  # noqa: PTH123
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                return False
            # The last line may be broken, if its writer was killed.
            return stream.write(b"\n" + lines) > len(lines)
    except OSError:
        return False


def _write_again(file: Path) -> None:
    """Writes a memory without its outdated lines; those of other processes meanwhile get lost."""
    newest = list(_entries(_read(file)).items())[-_MOST_ENTRIES:]
    lines = [b"%s %s:%s\n" % (sha256, inode, state) for inode, (state, sha256) in newest]
    with contextlib.suppress(OSError):
        replace_file(file, b"".join(lines))
