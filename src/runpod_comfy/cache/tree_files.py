"""The files of a tree, independent of the machine: their git tree hash, equal to what `git
write-tree` prints for exactly these files, and their entries in a tar file. Also their state on one
machine, which shows without reading them that none was changed.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from comfy_errors import InvalidInputError, OperationFailedError

MODULE_FILE = "__init__.py"
"""The name of the file in a tree that is a single Python file: a folder with that file alone is
imported as the file would be."""

_LEFT_OUT = frozenset({".git", "__pycache__", ".DS_Store"})
_CHUNK_BYTES = 1024 * 1024
# The coarsest clock of a file system in use (FAT's): a file that is written again within this time
# may keep its times.
_CLOCK_NS = 2_000_000_000


def is_left_out(name: str) -> bool:
    """True if a file or folder of this name does not count as a tree's content."""
    return name in _LEFT_OUT or name.endswith(".pyc")


def tree_hash(folder: Path) -> str:
    """`tree:` and 40 hex digits over the files, symbolic links and executable bits of `folder`,
    which may also be a file: the tree is then that file alone, as `MODULE_FILE`.

    Skips names for which `is_left_out` is true, and empty folders, which git does not track. Raises
    InvalidInputError for a device, socket or pipe in it.
    """
    if folder.is_file():
        mode, digest = _hash_file(os.fsencode(folder))
        entry = mode + b" " + MODULE_FILE.encode() + b"\0" + digest
        return "tree:" + _hash_object(b"tree", entry).hex()
    return "tree:" + (_hash_folder(os.fsencode(folder)) or _hash_object(b"tree", b"")).hex()


@dataclass(frozen=True, kw_only=True)
class TreeState:
    """`digest` differs after any change to the content that `tree_hash` covers.

    This is reliable if the state `is_settled`: a file that was changed just before may be changed
    again without a trace.
    """

    digest: str
    is_settled: bool


def tree_state(folder: Path) -> TreeState:
    """The state of `folder`, or of a file as a tree. Raises OSError if it cannot be read."""
    now = time.time_ns()
    if folder.is_file():
        found = [_state(MODULE_FILE, folder.stat())]
    else:
        found = sorted(_states(os.fspath(folder), ""))
    newest = max((change_ns for *_, change_ns in found), default=0)
    return TreeState(
        digest=hashlib.sha256(repr(found).encode()).hexdigest(),
        is_settled=newest < now - _CLOCK_NS,
    )


_State = tuple[str, int, int, int, int, int]


def _states(folder: str, inner: str) -> Iterator[_State]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_left_out(entry.name):
                continue
            name = f"{inner}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _states(entry.path, name)
                continue
            yield _state(name, entry.stat(follow_symlinks=False))


def _state(name: str, status: os.stat_result) -> _State:
    # Unlike the modification time, the change time cannot be set.
    times = status.st_mtime_ns, status.st_ctime_ns
    return name, status.st_ino, status.st_mode, status.st_size, *times


def _hash_folder(folder: bytes) -> bytes | None:
    entries: list[tuple[bytes, bytes]] = []
    with os.scandir(folder) as found:
        for item in found:
            if is_left_out(os.fsdecode(item.name)):
                continue
            mode, digest = _hash_entry(item)
            if digest is not None:
                # Git sorts a folder as if its name ended with a slash.
                order = item.name + b"/" if mode == b"40000" else item.name
                entries.append((order, mode + b" " + item.name + b"\0" + digest))
    if not entries:
        return None
    return _hash_object(b"tree", b"".join(line for _, line in sorted(entries)))


def _hash_entry(item: os.DirEntry[bytes]) -> tuple[bytes, bytes | None]:
    if item.is_symlink():
        return b"120000", _hash_object(b"blob", os.readlink(item.path))  # noqa: PTH115
    if item.is_dir():
        return b"40000", _hash_folder(item.path)
    if not item.is_file():
        raise InvalidInputError(
            f"{os.fsdecode(item.path)} is neither a file, a folder nor a link",
            remedy="Remove it: a tree can only contain files, folders and links.",
        )
    return _hash_file(item.path)


def _hash_file(path: bytes) -> tuple[bytes, bytes]:
    with Path(os.fsdecode(path)).open("rb", buffering=0) as stream:
        status = os.fstat(stream.fileno())
        digest = hashlib.sha1(b"blob %d\0" % status.st_size, usedforsecurity=False)
        length = 0
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
            length += len(chunk)
    if length != status.st_size:
        raise OperationFailedError(
            f"{os.fsdecode(path)} changed while it was read", remedy="Try again."
        )
    executable = status.st_mode & stat.S_IXUSR
    return b"100755" if executable else b"100644", digest.digest()


def _hash_object(kind: bytes, content: bytes) -> bytes:
    header = kind + b" %d\0" % len(content)
    return hashlib.sha1(header + content, usedforsecurity=False).digest()


def add_tree(archive: tarfile.TarFile, folder: Path, *, prefix: str = "") -> None:
    """Adds all files and links below `folder`, sorted, under `prefix` (`""` or ending in `/`).

    Headers hold a name, a size and the executable bit; everything else is constant. Folders have no
    entries of their own: as in git, trees only contain files.
    """
    found = []
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(f"{parent}/{name}")]  # noqa: PTH114
        found += [f"{parent}/{name}" for name in (*files, *links)]
    for path in sorted(found, key=os.fsencode):
        member = tarfile.TarInfo(prefix + os.path.relpath(path, folder))
        if os.path.islink(path):  # noqa: PTH114
            member.type = tarfile.SYMTYPE
            member.linkname = os.readlink(path)  # noqa: PTH115
            member.mode = 0o777
            archive.addfile(member)
            continue
        add_file(archive, Path(path), member)


def add_file(archive: tarfile.TarFile, path: Path, member: tarfile.TarInfo) -> None:
    """Adds the file at `path` as `member`, with that file's size and mode."""
    with path.open("rb") as content:
        status = os.fstat(content.fileno())
        member.size = status.st_size
        member.mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
        archive.addfile(member, content)
