"""Takes the files out of a wheel, sdist, zip or tar, as untrusted input: nothing in it runs.

Modes become 644 or 755 and nothing else of an archive's metadata stays, so that the same archive
gives the same tree everywhere.
"""

from __future__ import annotations

import calendar
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from comfy_errors import InvalidInputError
from runpod_comfy.sources.tree_writer import DEFAULT_LIMITS, TreeLimits, TreeWriter

_CHUNK_BYTES = 1024 * 1024
# The first time that a zip file can hold: members without a time count as this old.
_EARLIEST_EPOCH = 315532800
_DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
)


@dataclass(frozen=True, kw_only=True)
class _Member:
    """A file or link of an archive. `epoch` in seconds since 1970; `link` is where it leads."""

    name: str
    epoch: int
    executable: bool
    link: str | None
    origin: zipfile.ZipInfo | tarfile.TarInfo


def extract(
    archive: Path,
    target: Path,
    *,
    where: str,
    subdir: str | None = None,
    inside_top_folder: bool = False,
    limits: TreeLimits = DEFAULT_LIMITS,
) -> int:
    """Writes the files of `archive`, or of its folder `subdir`, into the empty folder `target`.

    `inside_top_folder` takes what lies in the archive's only folder, as in an sdist.
    `where` names the archive in messages.
    Returns the newest time among the files taken, in seconds since 1970.
    Raises InvalidInputError for a damaged or hostile archive, and for a folder it does not have.
    """
    try:
        with _open(archive) as opened:
            members = list(_members(opened, where, limits))
            if inside_top_folder:
                members = _below(members, _top_folder(members, where))
            chosen = _below(members, subdir) if subdir else members
            if not chosen:
                raise _no_folder(members, subdir, where)
            writer = TreeWriter(root=target, where=where, limits=limits)
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
            f"{where} is not an archive that can be read: {error}",
            remedy="Use another version of it.",
        ) from error
    except RuntimeError as error:
        # zipfile's way to say that a password is needed.
        raise InvalidInputError(f"{where} cannot be read: {error}") from error


def _open(archive: Path) -> zipfile.ZipFile | tarfile.TarFile:
    if zipfile.is_zipfile(archive):
        return zipfile.ZipFile(archive)
    return tarfile.open(archive)


def _members(
    opened: zipfile.ZipFile | tarfile.TarFile, where: str, limits: TreeLimits
) -> Iterator[_Member]:
    found: Iterator[_Member | None]
    if isinstance(opened, zipfile.ZipFile):
        found = (_zip_member(opened, origin) for origin in opened.infolist())
    else:
        found = (_tar_member(origin, where) for origin in opened)
    for number, member in enumerate(found):
        if number >= limits.files:
            raise InvalidInputError(f"{where} holds more than {limits.files:,} members")
        if member is not None:
            yield member


def _zip_member(opened: zipfile.ZipFile, origin: zipfile.ZipInfo) -> _Member | None:
    if origin.is_dir():
        return None
    mode = origin.external_attr >> 16
    link = None
    if stat.S_ISLNK(mode):
        link = opened.read(origin).decode("utf-8", "surrogateescape")
    return _Member(
        name=origin.filename,
        epoch=max(_EARLIEST_EPOCH, calendar.timegm((*origin.date_time, 0, 0, 0))),
        executable=bool(mode & stat.S_IXUSR),
        link=link,
        origin=origin,
    )


def _tar_member(origin: tarfile.TarInfo, where: str) -> _Member | None:
    if origin.isdir():
        return None
    if not (origin.isfile() or origin.issym() or origin.islnk()):
        raise InvalidInputError(
            f"{where} holds {origin.name!a}, which is neither a file, a folder nor a link",
            remedy="Use another version of it.",
        )
    return _Member(
        name=origin.name.removeprefix("./"),
        epoch=max(_EARLIEST_EPOCH, int(origin.mtime)),
        executable=bool(origin.mode & stat.S_IXUSR),
        link=origin.linkname if origin.issym() else None,
        origin=origin,
    )


def _content(opened: zipfile.ZipFile | tarfile.TarFile, member: _Member) -> IO[bytes]:
    if isinstance(opened, zipfile.ZipFile):
        assert isinstance(member.origin, zipfile.ZipInfo)
        return opened.open(member.origin)
    assert isinstance(member.origin, tarfile.TarInfo)
    try:
        stream = opened.extractfile(member.origin)
    except KeyError as error:
        raise tarfile.ReadError(f"{member.name!a} is linked to a file that is not there") from error
    if stream is None:
        raise tarfile.ReadError(f"{member.name!a} has no content")
    return stream


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := stream.read(_CHUNK_BYTES):
        yield chunk


def _below(members: list[_Member], folder: str) -> list[_Member]:
    """The members in `folder`, named from it."""
    prefix = f"{folder}/"
    return [
        replace(member, name=member.name.removeprefix(prefix))
        for member in members
        if member.name.startswith(prefix)
    ]


def _top_folder(members: list[_Member], where: str) -> str:
    # A tar from GitHub has a header for its commit beside the one folder; it is no member.
    tops = {member.name.split("/")[0] for member in members}
    if len(tops) != 1 or any("/" not in member.name for member in members):
        raise InvalidInputError(
            f"{where} does not hold one top folder, as an sdist does",
            remedy="Use another version of it.",
        )
    return tops.pop()


def _no_folder(members: list[_Member], subdir: str | None, where: str) -> InvalidInputError:
    if subdir is None:
        return InvalidInputError(f"{where} is empty", remedy="Use another version of it.")
    folders = {name for member in members if "/" in (name := member.name.rpartition("/")[0])}
    folders |= {member.name.split("/")[0] for member in members if "/" in member.name}
    wanted = subdir.split("/")[-1]
    near = sorted(folders, key=lambda name: (name.split("/")[-1] != wanted, name.count("/"), name))
    return InvalidInputError(
        f"{where} has no folder '{subdir}'",
        remedy=f"Correct 'subdir'; it has, among others: {', '.join(near[:5])}.",
    )
