"""Writes an untrusted tree into a folder: nothing outside it, no path twice, within limits.

Links are created last, so that no file is ever written through one.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from comfy_errors import InvalidInputError
from comfy_files.inner_path import LONGEST_NAME

_REMEDY = "Use another version or another source of it."
# The limits of one tree. The largest node packs seen have a few GB and 50,000 files.
MOST_BYTES, MOST_FILES = 20 * 1024**3, 500_000


@dataclass(kw_only=True)
class TreeWriter:
    """Writes below `root`. `where` names the tree's origin in messages.

    With `one_case`, names that a macOS file system treats as equal are refused everywhere.
    """

    root: Path
    where: str
    most_bytes: int = MOST_BYTES
    one_case: bool = False
    _links: list[tuple[Path, str]] = field(default_factory=list)
    _written_bytes: int = 0
    _written_files: int = 0
    _spellings: dict[str, str] = field(default_factory=dict)

    def write_file(self, inner: str, chunks: Iterable[bytes], *, executable: bool) -> None:
        """Writes one file at the relative POSIX path `inner`.

        Raises InvalidInputError for a path that leaves the tree or already exists, and if the tree
        exceeds its limits.
        """
        path = self._place(inner)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            descriptor = os.open(path, flags, 0o755 if executable else 0o644)
        except FileExistsError as error:
            raise self._twice(inner) from error
        with os.fdopen(descriptor, "wb") as stream:
            for chunk in chunks:
                self._written_bytes += len(chunk)
                refuse_beyond(self.most_bytes, self._written_bytes, "bytes", self.where)
                stream.write(chunk)
        path.chmod(0o755 if executable else 0o644)

    def add_link(self, inner: str, target: str) -> None:
        """Adds a symbolic link, created by `finish`. Its target is checked when the tree is
        complete.
        """
        if not target or "\0" in target:
            raise InvalidInputError(
                f"{self.where} has the link {inner!a} to {target!a}", remedy=_REMEDY
            )
        self._links.append((self._place(inner), target))

    def make_folder(self, inner: str) -> Path:
        """Creates a folder, which must not exist yet."""
        path = self._place(inner)
        try:
            path.mkdir(mode=0o755)
        except FileExistsError as error:
            raise self._twice(inner) from error
        return path

    def finish(self) -> None:
        """Creates the links."""
        for path, target in self._links:
            try:
                path.symlink_to(target)
            except FileExistsError as error:
                raise self._twice(path.relative_to(self.root).as_posix()) from error

    def _place(self, inner: str) -> Path:
        self._written_files += 1
        refuse_beyond(MOST_FILES, self._written_files, "files", self.where)
        refuse_unsafe(inner, self.where)
        path = PurePosixPath(inner)
        for part in (path, *path.parents) if self.one_case else ():
            folded = unicodedata.normalize("NFC", str(part)).casefold()
            if self._spellings.setdefault(folded, str(part)) != str(part):
                raise self._twice(str(part))
        place = self.root / path
        try:
            place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise self._twice(inner) from error
        return place

    def _twice(self, inner: str) -> InvalidInputError:
        return InvalidInputError(
            f"{self.where} has two entries for {inner!a} "
            "(or two that this file system treats as equal)",
            remedy=_REMEDY,
        )


def refuse_beyond(limit: int, count: int, what: str, where: str) -> None:
    """Raises InvalidInputError for more than `limit`. `where` names the tree's origin."""
    if count > limit:
        raise InvalidInputError(f"{where} has more than {limit:,} {what}", remedy=_REMEDY)


def refuse_unsafe(inner: str, where: str) -> None:
    """Raises InvalidInputError for a path that is absolute, leads outside its tree or into `.git`,
    or is invalid on any file system. `where` names the tree's origin.
    """
    path = PurePosixPath(inner)
    hostile = {".", "..", ""} & set(inner.rstrip("/").split("/"))
    hostile |= {part for part in path.parts if part.lower() == ".git" or "\0" in part}
    hostile |= {part for part in path.parts if len(os.fsencode(part)) > LONGEST_NAME}
    if path.is_absolute() or hostile:
        raise InvalidInputError(f"{where} has the unsafe path {inner!a}", remedy=_REMEDY)
