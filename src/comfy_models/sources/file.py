"""Model files of this machine."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from comfy_errors import UnavailableError
from comfy_files.files import os_reason
from comfy_models.error_pages import PAGE_BYTES, fault_of_page
from comfy_models.sources.errors import GoneError, NotAModelError, not_a_model_remedy
from comfy_models.sources.source import HostFile, head_of

_REMEDY = "Put it there, or correct 'source' in the spec."


class FileSource:
    """A file of this machine. Its sha256 is not told: reading it is hashing it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pin(self) -> HostFile:
        with contextlib.closing(self.open(0, None)) as stream:
            if fault := fault_of_page(head_of(stream, PAGE_BYTES), self.path.name):
                raise NotAModelError(
                    f"{self.path} {fault}", remedy=not_a_model_remedy(is_here=True)
                )
            return HostFile(size=stream.size, name=self.path.name)

    def open(self, start: int, end: int | None, *, validator: str | None = None) -> FileStream:
        try:
            if self.path.is_dir():
                raise GoneError(f"{self.path} is a folder, not a model file", remedy=_REMEDY)
            if not self.path.is_file():
                raise GoneError(f"there is no file {self.path}", remedy=_REMEDY)
            stream = FileStream(self.path, start, end)
            if validator in (None, stream.validator):
                return stream
            stream.close()
            return FileStream(self.path, 0, None)
        except OSError as error:
            raise _unreadable(self.path, error) from error


class FileStream:
    """The bytes [start, end) of a file. Its validator changes whenever the file does."""

    def __init__(self, path: Path, start: int, end: int | None) -> None:
        self._path, self._file = path, path.open("rb", buffering=0)
        status = os.fstat(self._file.fileno())
        self.start, self.size = start, status.st_size
        self.validator = f"{status.st_ino}:{status.st_mtime_ns}"
        self._left = (self.size if end is None else end) - start
        self._file.seek(start)

    def read(self, size: int) -> bytes:
        try:
            chunk = self._file.read(max(0, min(size, self._left)))
        except OSError as error:
            raise _unreadable(self._path, error) from error
        self._left -= len(chunk)
        return chunk

    def close(self) -> None:
        self._file.close()


def _unreadable(path: Path, error: OSError) -> UnavailableError:
    return UnavailableError(
        f"the model file {path} cannot be read: {os_reason(error)}",
        remedy="Check its permissions and its disk.",
    )
