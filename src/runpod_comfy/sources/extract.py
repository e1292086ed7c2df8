"""Extracts the files of a zip, wheel or tar, as untrusted input: nothing in it runs.

Modes become 644 or 755 and all other metadata is dropped, so that an archive gives the same tree
everywhere.
"""

from __future__ import annotations

import bz2
import calendar
import contextlib
import gzip
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal

from comfy_errors import InvalidInputError
from comfy_errors.names import listed
from comfy_files.files import COPY_BYTES
from comfy_home.tree_hash import MODULE_FILE
from runpod_comfy.cache.tree import FIRST_TIME_S
from runpod_comfy.sources.tree_writer import (
    MOST_BYTES,
    MOST_FILES,
    TreeWriter,
    refuse_beyond,
    refuse_unsafe,
)

# How to treat a single top folder that contains everything else.
TopFolder = Literal["kept", "entered", "entered if it is the only one"]

_LONGEST_HEADER = 1024 * 1024
# The last time that a zip file can store; members without a time count as the oldest.
_LATEST_EPOCH = 4354819199
# Above a minimum size, an archive may expand to this many times its own size. For source code it is
# seldom 10.
_FREE_BYTES, _MOST_TIMES_ITS_SIZE = 64 * 1024**2, 200
_LONGEST_LINK = 4096
# macOS adds its own metadata beside the packed folder.
_RESOURCE_FORKS = "__MACOSX"
_DECOMPRESSORS: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_TAR_MAGIC, _TAR_MAGIC_AT = b"ustar", 257
_REMEDY = "Use another version of it."
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    ValueError,
)


@dataclass(frozen=True, kw_only=True)
class _Member:
    """A file or link of an archive. `epoch` is in seconds since 1970, `link` the target."""

    name: str
    epoch: int
    size_bytes: int
    executable: bool
    link: str | None
    content: Callable[[], IO[bytes]]


def extract(
    archive: Path,
    target: Path,
    *,
    where: str,
    subdir: str | None = None,
    top_folder: TopFolder = "kept",
) -> int:
    """Writes the files of `archive`, or of its folder `subdir`, into the empty folder `target`.

    With `top_folder` "entered" everything must be in one folder, as in an sdist; `subdir` is
    relative to that folder. `where` names the archive in messages. Returns the newest time among
    the files taken, in seconds since 1970. Raises InvalidInputError for a damaged or hostile
    archive, or if `subdir` does not exist.
    """
    fair_bytes = _FREE_BYTES + _MOST_TIMES_ITS_SIZE * archive.stat().st_size
    most_bytes = min(MOST_BYTES, fair_bytes)
    try:
        with _open(archive, where) as found:
            members = list(_within(most_bytes, found, where))
            # Checked before entering folders, which would remove the `..` from a path.
            for member in members:
                refuse_unsafe(member.name, where)
            if top_folder != "kept":
                members = _inside(members, where, must=top_folder == "entered")
            chosen = _below(members, subdir) if subdir else members
            if not chosen:
                raise _no_folder(members, subdir, where)
            writer = TreeWriter(root=target, where=where, most_bytes=most_bytes, one_case=True)
            for member in chosen:
                if member.link is not None:
                    writer.add_link(member.name, member.link)
                else:
                    with member.content() as stream:
                        chunks = iter(partial(stream.read, COPY_BYTES), b"")
                        writer.write_file(member.name, chunks, executable=member.executable)
            writer.finish()
            return max(member.epoch for member in chosen)
    except _DAMAGED as error:
        raise InvalidInputError(
            f"{where} is not a readable archive: {error}", remedy=_REMEDY
        ) from error
    except RuntimeError as error:
        # zipfile raises this if a password is needed.
        raise InvalidInputError(f"{where} cannot be read: {error}", remedy=_REMEDY) from error


def begins_like_an_archive(first: bytes) -> bool:
    """True if a file with these first 512 bytes may be an archive that `extract` supports."""
    magic = (*_DECOMPRESSORS, *_ZIP_MAGIC)
    return first.startswith(magic) or first.startswith(_TAR_MAGIC, _TAR_MAGIC_AT)


@contextlib.contextmanager
def _open(archive: Path, where: str) -> Iterator[Iterator[_Member | None]]:
    """The members of an archive, None for its folders; valid while it is open."""
    with contextlib.ExitStack() as closing:
        stream = closing.enter_context(archive.open("rb"))
        # Decided by its first bytes, so that a tar with a zip inside is not mistaken for that zip.
        first = stream.read(_TAR_MAGIC_AT + len(_TAR_MAGIC))
        stream.seek(0)
        if not begins_like_an_archive(first):
            raise tarfile.ReadError("it is neither a zip nor a tar")
        if first.startswith(_ZIP_MAGIC):
            opened = closing.enter_context(zipfile.ZipFile(_Source(stream)))
            yield (_zip_member(opened, origin) for origin in opened.infolist())
            return
        for magic, decompress in _DECOMPRESSORS.items():
            if first.startswith(magic):
                stream = closing.enter_context(decompress(stream))
        tar = closing.enter_context(tarfile.open(fileobj=_TarSource(stream), mode="r:"))  # type: ignore[call-overload]
        yield (_tar_member(tar, origin, where) for origin in tar)


class _Source:
    """The stream of an archive. A read error means a damaged archive with impossible offsets, so it
    becomes a ReadError; write errors stay OSErrors.
    """

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content
        self.tell, self.seekable = content.tell, content.seekable

    def read(self, size: int = -1) -> bytes:
        try:
            return self._content.read(size)
        except OSError as error:
            raise tarfile.ReadError(str(error)) from error

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._content.seek(offset, whence)
        except OSError as error:
            raise tarfile.ReadError(str(error)) from error


class _TarSource(_Source):
    """A source that keeps tarfile from reading a header of unlimited size into memory."""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LONGEST_HEADER:
            raise tarfile.ReadError(f"it has a header of {size:,} bytes")
        return super().read(size)


def _within(most_bytes: int, found: Iterator[_Member | None], where: str) -> Iterator[_Member]:
    announced_bytes = 0
    for number, member in enumerate(found, start=1):
        refuse_beyond(MOST_FILES, number, "members", where)
        if member is not None:
            # Neither zipfile nor tarfile returns more of a member than its header announces.
            announced_bytes += member.size_bytes
            refuse_beyond(most_bytes, announced_bytes, "bytes", where)
            yield member


def _zip_member(opened: zipfile.ZipFile, origin: zipfile.ZipInfo) -> _Member | None:
    # Some Windows tools write backslashes, which the format does not allow.
    name = origin.filename.replace("\\", "/").removeprefix("./")
    if name.endswith("/"):
        return None
    mode = origin.external_attr >> 16
    link = None
    if stat.S_ISLNK(mode):
        if origin.file_size > _LONGEST_LINK:
            raise zipfile.BadZipFile(f"the link {name!a} is {origin.file_size:,} bytes long")
        link = opened.read(origin).decode("utf-8", "surrogateescape")
    try:
        epoch = max(FIRST_TIME_S, calendar.timegm((*origin.date_time, 0, 0, 0)))
    except ValueError:
        # Tools that know no time write month or day 0.
        epoch = FIRST_TIME_S
    return _Member(
        name=name,
        epoch=epoch,
        size_bytes=origin.file_size,
        executable=bool(mode & stat.S_IXUSR),
        link=link,
        content=partial(opened.open, origin),
    )


def _tar_member(opened: tarfile.TarFile, origin: tarfile.TarInfo, where: str) -> _Member | None:
    if origin.isdir():
        return None
    if not (origin.isfile() or origin.issym() or origin.islnk()):
        raise InvalidInputError(
            f"{where} has {origin.name!a}, which is neither a file, a folder nor a link",
            remedy=_REMEDY,
        )
    return _Member(
        name=origin.name.removeprefix("./"),
        epoch=min(max(FIRST_TIME_S, int(origin.mtime)), _LATEST_EPOCH),
        size_bytes=origin.size,
        executable=bool(origin.mode & stat.S_IXUSR),
        link=origin.linkname if origin.issym() else None,
        content=partial(_tar_content, opened, origin),
    )


def _tar_content(opened: tarfile.TarFile, origin: tarfile.TarInfo) -> IO[bytes]:
    try:
        stream = opened.extractfile(origin)
    except KeyError as error:
        raise tarfile.ReadError(
            f"{origin.name!a} is linked to a file that does not exist"
        ) from error
    if stream is None:
        raise tarfile.ReadError(f"{origin.name!a} has no content")
    return stream


def _below(members: list[_Member], folder: str) -> list[_Member]:
    """The members in `folder`, with names relative to it; `folder` may be a Python file."""
    if folder.endswith(".py"):
        for member in members:
            if member.name == folder and member.link is None:
                return [replace(member, name=MODULE_FILE)]
    prefix = f"{folder}/"
    return [
        replace(member, name=member.name.removeprefix(prefix))
        for member in members
        if member.name.startswith(prefix)
    ]


def _inside(members: list[_Member], where: str, *, must: bool) -> list[_Member]:
    """The members in the archive's single top folder, with names relative to it; all members if
    there is no such folder.
    """
    # A tar from GitHub also has a header with its commit; it is not a member.
    tops = {member.name.split("/")[0] for member in members} - {_RESOURCE_FORKS}
    if len(tops) == 1 and all("/" in member.name for member in members):
        return _below(members, tops.pop())
    if must:
        raise InvalidInputError(
            f"{where} does not have a single top folder, as an sdist does", remedy=_REMEDY
        )
    return members


def _no_folder(members: list[_Member], subdir: str | None, where: str) -> InvalidInputError:
    if subdir is None:
        return InvalidInputError(f"{where} is empty", remedy=_REMEDY)
    folders = {name for member in members if "/" in (name := member.name.rpartition("/")[0])}
    folders |= {member.name.split("/")[0] for member in members if "/" in member.name}
    wanted = subdir.split("/")[-1]
    near = sorted(folders, key=lambda name: (name.split("/")[-1] != wanted, name.count("/"), name))
    return InvalidInputError(
        f"{where} has no folder '{subdir}'",
        remedy=f"Correct 'subdir'; it has: {listed(near, at_most=5)}.",
    )
