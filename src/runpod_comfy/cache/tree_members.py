"""The files of a tree as members of a tar file, the same for the same tree on any machine."""

from __future__ import annotations

import os
import stat
import tarfile
from pathlib import Path


def add_tree(archive: tarfile.TarFile, folder: Path, *, prefix: str = "") -> None:
    """Adds all files and links below `folder`, sorted, under `prefix` (`""` or ending in `/`).

    Headers hold a name, a size and whether a file is executable; all else is constant.
    Folders have no members of their own: trees, as git knows them, hold files only.
    """
    for path in _files(folder):
        member = tarfile.TarInfo(prefix + os.path.relpath(path, folder))
        if os.path.islink(path):  # noqa: PTH114
            member.type = tarfile.SYMTYPE
            member.linkname = os.readlink(path)  # noqa: PTH115
            member.mode = 0o777
            archive.addfile(member)
            continue
        add_file(archive, Path(path), member)


def add_file(archive: tarfile.TarFile, path: Path, member: tarfile.TarInfo) -> None:
    """Adds the file at `path` as `member`, which gets its size and mode from there."""
    with path.open("rb") as content:
        status = os.fstat(content.fileno())
        member.size = status.st_size
        member.mode = 0o755 if status.st_mode & stat.S_IXUSR else 0o644
        archive.addfile(member, content)


def _files(folder: Path) -> list[str]:
    found = []
    for parent, folders, files in os.walk(folder):
        links = [name for name in folders if os.path.islink(f"{parent}/{name}")]  # noqa: PTH114
        found += [f"{parent}/{name}" for name in (*files, *links)]
    return sorted(found, key=os.fsencode)
