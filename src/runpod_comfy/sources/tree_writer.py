"""Puts files of an untrusted tree into a folder: nothing outside it, nothing twice, not too much.

Links are made last, so that no file is ever written through one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from comfy_errors import InvalidInputError

_REMEDY = "Use another version or another source of it."


@dataclass(frozen=True, kw_only=True)
class TreeLimits:
    """How much one tree may hold. The largest node packs seen have a few GB and 50,000 files."""

    size_bytes: int = 20 * 1024**3
    files: int = 500_000


DEFAULT_LIMITS = TreeLimits()


@dataclass(kw_only=True)
class TreeWriter:
    """Writes below `root`. `where` names the tree's origin in messages."""

    root: Path
    where: str
    limits: TreeLimits = DEFAULT_LIMITS
    _links: list[tuple[Path, str]] = field(default_factory=list)
    _written_bytes: int = 0
    _written_files: int = 0

    def write_file(self, inner: str, chunks: Iterable[bytes], *, executable: bool) -> None:
        """One file at the relative POSIX path `inner`.

        Raises InvalidInputError for a path that leaves the tree or is there already, and when
        the tree grows beyond its limits.
        """
        path = self._place(inner)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        try:
            descriptor = os.open(path, flags, 0o755 if executable else 0o644)
        except FileExistsError as error:
            raise self._twice(inner) from error
        with os.fdopen(descriptor, "wb") as stream:
            for chunk in chunks:
                self._count(len(chunk))
                stream.write(chunk)
        path.chmod(0o755 if executable else 0o644)

    def add_link(self, inner: str, target: str) -> None:
        """A symbolic link, made by `finish`. Where it leads is checked when the tree is whole."""
        self._links.append((self._place(inner), target))

    def make_folder(self, inner: str) -> Path:
        """A folder that must not be there yet."""
        path = self._place(inner)
        try:
            path.mkdir(mode=0o755)
        except FileExistsError as error:
            raise self._twice(inner) from error
        return path

    def finish(self) -> None:
        """Makes the links."""
        for path, target in self._links:
            try:
                path.symlink_to(target)
            except FileExistsError as error:
                raise self._twice(path.relative_to(self.root).as_posix()) from error

    def _place(self, inner: str) -> Path:
        self._count_file()
        path = PurePosixPath(inner)
        hostile = {".", "..", ""} & set(inner.rstrip("/").split("/"))
        if path.is_absolute() or hostile or ".git" in (part.lower() for part in path.parts):
            raise InvalidInputError(f"{self.where} holds the unsafe path {inner!a}", remedy=_REMEDY)
        place = self.root / path
        try:
            place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise self._twice(inner) from error
        return place

    def _twice(self, inner: str) -> InvalidInputError:
        return InvalidInputError(
            f"{self.where} holds two entries for {inner!a} "
            "(or two that this file system takes for the same)",
            remedy=_REMEDY,
        )

    def _count(self, size_bytes: int) -> None:
        self._written_bytes += size_bytes
        if self._written_bytes > self.limits.size_bytes:
            raise InvalidInputError(
                f"{self.where} holds more than {self.limits.size_bytes:,} bytes", remedy=_REMEDY
            )

    def _count_file(self) -> None:
        self._written_files += 1
        if self._written_files > self.limits.files:
            raise InvalidInputError(
                f"{self.where} holds more than {self.limits.files:,} files", remedy=_REMEDY
            )
