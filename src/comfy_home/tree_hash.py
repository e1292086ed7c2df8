"""The git tree hash of a folder's files, equal to what `git write-tree` prints for exactly these
files, so it is independent of the machine.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Container
from pathlib import Path

from comfy_errors import InvalidInputError, OperationFailedError

MODULE_FILE = "__init__.py"
"""The name of the file in a tree that is a single Python file: a folder with that file alone is
imported as the file would be."""

_LEFT_OUT = frozenset({".git", "__pycache__", ".DS_Store"})
_CHUNK_BYTES = 1024 * 1024


def is_left_out(name: str) -> bool:
    """True if a file or folder of this name does not count as a tree's content."""
    return name in _LEFT_OUT or name.endswith(".pyc")


def tree_hash(folder: Path, *, without: Container[Path] = ()) -> str:
    """`tree:` and 40 hex digits over the files, symbolic links and executable bits of `folder`,
    which may also be a file: the tree is then that file alone, as `MODULE_FILE`.

    Skips names for which `is_left_out` is true, the paths `without`, and empty folders, which git
    does not track. Raises InvalidInputError for a device, socket or pipe in it.
    """
    if folder.is_file():
        mode, digest = _hash_file(os.fsencode(folder))
        entry = mode + b" " + MODULE_FILE.encode() + b"\0" + digest
        return "tree:" + _hash_object(b"tree", entry).hex()
    return (
        "tree:" + (_hash_folder(os.fsencode(folder), without) or _hash_object(b"tree", b"")).hex()
    )


def _hash_folder(folder: bytes, without: Container[Path]) -> bytes | None:
    entries: list[tuple[bytes, bytes]] = []
    with os.scandir(folder) as found:
        for item in found:
            if is_left_out(os.fsdecode(item.name)) or Path(os.fsdecode(item.path)) in without:
                continue
            mode, digest = _hash_entry(item, without)
            if digest is not None:
                # Git sorts a folder as if its name ended with a slash.
                order = item.name + b"/" if mode == b"40000" else item.name
                entries.append((order, mode + b" " + item.name + b"\0" + digest))
    if not entries:
        return None
    return _hash_object(b"tree", b"".join(line for _, line in sorted(entries)))


def _hash_entry(item: os.DirEntry[bytes], without: Container[Path]) -> tuple[bytes, bytes | None]:
    if item.is_symlink():
        return b"120000", _hash_object(b"blob", os.readlink(item.path))  # noqa: PTH115
    if item.is_dir():
        return b"40000", _hash_folder(item.path, without)
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
