"""The files of a tree: their entries in a tar file, independent of the machine, and their state on
one machine, which shows without reading them that none was changed.
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

from comfy_home.tree_hash import MODULE_FILE, is_left_out

# The coarsest clock of a file system in use (FAT's): a file that is written again within this time
# may keep its times.
_CLOCK_NS = 2_000_000_000


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
