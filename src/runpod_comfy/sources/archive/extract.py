"""Takes the files out of a zip, wheel or tar, as untrusted input: nothing in it runs.

Modes become 644 or 755 and nothing else of an archive's metadata stays, so that the same archive
gives the same tree everywhere.
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
from pathlib import Path
from typing import IO, Any, Literal

from comfy_errors import InvalidInputError
from runpod_comfy.sources.tree_writer import DEFAULT_LIMITS, TreeLimits, TreeWriter, refuse_unsafe

# What becomes of an archive's only folder, in which everything else lies.
TopFolder = Literal["kept", "entered", "entered if it is the only one"]

_CHUNK_BYTES = 1024 * 1024
# The first and the last time that a zip file can hold; members without a time are the oldest.
_EARLIEST_EPOCH, _LATEST_EPOCH = 315532800, 4354819199
# Beyond the first bytes, an archive may hold so many times its own size. Source code seldom has 10.
_FREE_BYTES, _MOST_TIMES_ITS_SIZE = 64 * 1024**2, 200
_LONGEST_LINK = 4096
# macOS puts its own records beside the one folder that a person packed.
_RESOURCE_FORKS = "__MACOSX"
_DECOMPRESSORS: dict[bytes, Callable[[Path], Any]] = {
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
    """A file or link of an archive. `epoch` in seconds since 1970; `link` is where it leads."""

    name: str
    epoch: int
    size_bytes: int
    executable: bool
    link: str | None
    origin: zipfile.ZipInfo | tarfile.TarInfo


def extract(
    archive: Path,
    target: Path,
    *,
    where: str,
    subdir: str | None = None,
    top_folder: TopFolder = "kept",
    limits: TreeLimits = DEFAULT_LIMITS,
) -> int:
    """Writes the files of `archive`, or of its folder `subdir`, into the empty folder `target`.

    With `top_folder` "entered" everything must lie in one folder, as in an sdist; `subdir` counts
    from inside it. `where` names the archive in messages.
    Returns the newest time among the files taken, in seconds since 1970.
    Raises InvalidInputError for a damaged or hostile archive, and for a folder it does not have.
    """
    fair_bytes = _FREE_BYTES + _MOST_TIMES_ITS_SIZE * archive.stat().st_size
    limits = replace(limits, size_bytes=min(limits.size_bytes, fair_bytes))
    try:
        with _open(archive) as opened:
            with _reading():
                members = list(_members(opened, where, limits))
            # Before folders are entered, which would take the `..` off a path.
            for member in members:
                refuse_unsafe(member.name, where)
            if top_folder != "kept":
                members = _inside(members, where, must=top_folder == "entered")
            chosen = _below(members, subdir) if subdir else members
            if not chosen:
                raise _no_folder(members, subdir, where)
            writer = TreeWriter(root=target, where=where, limits=limits, one_case=True)
            for member in chosen:
                if member.link is not None:
                    writer.add_link(member.name, member.link)
                else:
                    with _content(opened, member) as stream:
                        writer.write_file(
                            member.name, _chunks(stream), executable=member.executable
                        )
            writer.finish()
            return max(member.epoch for member in chosen)
    except _DAMAGED as error:
        raise InvalidInputError(
            f"{where} is not an archive that can be read: {error}", remedy=_REMEDY
        ) from error
    except RuntimeError as error:
        # zipfile's way to say that a password is needed.
        raise InvalidInputError(f"{where} cannot be read: {error}", remedy=_REMEDY) from error


def begins_like_an_archive(first: bytes) -> bool:
    """Whether a file with these first 512 bytes can be one that `extract` takes."""
    magic = (*_DECOMPRESSORS, *_ZIP_MAGIC)
    return first.startswith(magic) or first.startswith(_TAR_MAGIC, _TAR_MAGIC_AT)


@contextlib.contextmanager
def _open(archive: Path) -> Iterator[zipfile.ZipFile | tarfile.TarFile]:
    # Judged by its first bytes, where a tar with a zip inside cannot be taken for that zip.
    with archive.open("rb") as stream:
        first = stream.read(_TAR_MAGIC_AT + len(_TAR_MAGIC))
    if not begins_like_an_archive(first):
        raise tarfile.ReadError("it is neither a zip nor a tar")
    if first.startswith(_ZIP_MAGIC):
        with zipfile.ZipFile(archive) as opened:
            yield opened
        return
    for magic, decompress in _DECOMPRESSORS.items():
        if first.startswith(magic):
            with decompress(archive) as content, _open_tar(content) as tar:
                yield tar
            return
    with archive.open("rb") as content, _open_tar(content) as tar:
        yield tar


def _open_tar(content: IO[bytes]) -> tarfile.TarFile:
    return tarfile.open(fileobj=_Sips(content), mode="r:")  # type: ignore[call-overload, no-any-return]


class _Sips:
    """A stream of which tarfile cannot read a header into memory that has no end."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content
        self.seek, self.tell = content.seek, content.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _CHUNK_BYTES:
            raise tarfile.ReadError(f"it has a header of {size:,} bytes")
        with _reading():
            return self._content.read(size)


def _members(
    opened: zipfile.ZipFile | tarfile.TarFile, where: str, limits: TreeLimits
) -> Iterator[_Member]:
    found: Iterator[_Member | None]
    if isinstance(opened, zipfile.ZipFile):
        found = (_zip_member(opened, origin) for origin in opened.infolist())
    else:
        found = (_tar_member(origin, where) for origin in opened)
    announced_bytes = 0
    for number, member in enumerate(found):
        if number >= limits.files:
            raise InvalidInputError(
                f"{where} holds more than {limits.files:,} members", remedy=_REMEDY
            )
        if member is not None:
            announced_bytes += member.size_bytes
            # Neither zipfile nor tarfile gives more of a member than is announced.
            if announced_bytes > limits.size_bytes:
                raise InvalidInputError(
                    f"{where} holds more than {limits.size_bytes:,} bytes", remedy=_REMEDY
                )
            yield member


def _zip_member(opened: zipfile.ZipFile, origin: zipfile.ZipInfo) -> _Member | None:
    # Some tools of Windows write its own separator, which the format does not know.
    name = origin.filename.replace("\\", "/").removeprefix("./")
    if name.endswith("/"):
        return None
    mode = origin.external_attr >> 16
    link = None
    if stat.S_ISLNK(mode):
        if origin.file_size > _LONGEST_LINK:
            raise zipfile.BadZipFile(f"the link {name!a} is {origin.file_size:,} bytes long")
        link = opened.read(origin).decode("utf-8", "surrogateescape")
    return _Member(
        name=name,
        epoch=_zip_epoch(origin),
        size_bytes=origin.file_size,
        executable=bool(mode & stat.S_IXUSR),
        link=link,
        origin=origin,
    )


def _zip_epoch(origin: zipfile.ZipInfo) -> int:
    try:
        return max(_EARLIEST_EPOCH, calendar.timegm((*origin.date_time, 0, 0, 0)))
    except ValueError:
        # A month or day 0 is what tools write that know no time.
        return _EARLIEST_EPOCH


def _tar_member(origin: tarfile.TarInfo, where: str) -> _Member | None:
    if origin.isdir():
        return None
    if not (origin.isfile() or origin.issym() or origin.islnk()):
        raise InvalidInputError(
            f"{where} holds {origin.name!a}, which is neither a file, a folder nor a link",
            remedy=_REMEDY,
        )
    return _Member(
        name=origin.name.removeprefix("./"),
        epoch=min(max(_EARLIEST_EPOCH, int(origin.mtime)), _LATEST_EPOCH),
        size_bytes=origin.size,
        executable=bool(origin.mode & stat.S_IXUSR),
        link=origin.linkname if origin.issym() else None,
        origin=origin,
    )


def _content(opened: zipfile.ZipFile | tarfile.TarFile, member: _Member) -> IO[bytes]:
    if isinstance(opened, zipfile.ZipFile):
        assert isinstance(member.origin, zipfile.ZipInfo)
        with _reading():
            return opened.open(member.origin)
    assert isinstance(member.origin, tarfile.TarInfo)
    try:
        with _reading():
            stream = opened.extractfile(member.origin)
    except KeyError as error:
        raise tarfile.ReadError(f"{member.name!a} is linked to a file that is not there") from error
    if stream is None:
        raise tarfile.ReadError(f"{member.name!a} has no content")
    return stream


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    while True:
        with _reading():
            chunk = stream.read(_CHUNK_BYTES)
        if not chunk:
            return
        yield chunk


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """A damaged archive leads to places that a file cannot have; writing has errors of its own."""
    try:
        yield
    except OSError as error:
        raise tarfile.ReadError(str(error)) from error


def _below(members: list[_Member], folder: str) -> list[_Member]:
    """The members in `folder`, named from it."""
    prefix = f"{folder}/"
    return [
        replace(member, name=member.name.removeprefix(prefix))
        for member in members
        if member.name.startswith(prefix)
    ]


def _inside(members: list[_Member], where: str, *, must: bool) -> list[_Member]:
    """The members in the one folder of the archive, named from it; all, if there is not one."""
    # A tar from GitHub has a header for its commit beside the one folder; it is no member.
    tops = {member.name.split("/")[0] for member in members} - {_RESOURCE_FORKS}
    if len(tops) == 1 and all("/" in member.name for member in members):
        return _below(members, tops.pop())
    if must:
        raise InvalidInputError(
            f"{where} does not hold one top folder, as an sdist does", remedy=_REMEDY
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
        remedy=f"Correct 'subdir'; it has, among others: {', '.join(near[:5])}.",
    )
