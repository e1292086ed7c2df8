"""Puts the files of a job into a folder: all of them, or none with one error that names each."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from comfy_errors import InvalidInputError
from comfy_files.files import disk_errors
from comfy_files.parallel import end_if_interrupted
from comfy_files.progress import readable_size
from rp_handler.inputs.content import decoded
from rp_handler.inputs.document import Entry, JobInputs, is_address
from rp_handler.inputs.faults import for_all, require_sha256
from rp_handler.inputs.policy import FILE_MB, TOTAL_MB, InputPolicy
from rp_handler.interruption import in_thread

if TYPE_CHECKING:
    from rp_handler.inputs.download import Downloads

_AT_ONCE = 8


async def fetch_inputs(
    inputs: JobInputs,
    folder: Path,
    *,
    policy: InputPolicy,
    variables: Mapping[str, str],
) -> dict[str, str]:
    """Puts each file at its name below `folder`; returns their sha256 (64 hex digits) by name.

    `folder` must not exist; it appears with all files in it, if there are any. `variables` are the
    environment's. Raises InvalidInputError, InputFetchError, and OperationFailedError for a full
    disk.
    """
    entries = inputs.entries()
    if not entries:
        return {}
    return await in_thread(lambda: _fetched(entries, folder, policy, variables))


def _fetched(
    entries: Sequence[Entry], folder: Path, policy: InputPolicy, variables: Mapping[str, str]
) -> dict[str, str]:
    here = [entry for entry in entries if not is_address(entry.content)]
    remote = [entry for entry in entries if is_address(entry.content)]
    with disk_errors("the job's input files could not be written"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = tempfile.TemporaryDirectory(
            prefix=".partial-", dir=folder.parent, ignore_cleanup_errors=True
        )
        with partial as place:
            arrivals = _Arrivals(Path(place), policy)
            # What the job itself holds is checked before anything is asked for.
            digests = _each(arrivals.write, here, threads=1)
            if remote:
                # Imported late: most jobs have no URL.
                from rp_handler.inputs.download import Downloads

                with contextlib.closing(Downloads(policy, variables)) as downloads:
                    digests |= _each(
                        lambda one: arrivals.download(one, downloads), remote, threads=_AT_ONCE
                    )
            arrivals.files.rename(folder)
    return digests


class _Arrivals:
    """Writes files in the folder `partial`, and those that are whole to `files` in it."""

    def __init__(self, partial: Path, policy: InputPolicy) -> None:
        self._partial, self._policy = partial, policy
        self._numbers = count()
        self.files = partial / "files"
        self.files.mkdir()
        self._left_bytes = policy.total_bytes
        self._lock = threading.Lock()

    def write(self, entry: Entry) -> str:
        """Puts a file that the job itself holds; returns its sha256. Raises InvalidInputError."""
        try:
            content = decoded(entry.content)
        except ValueError as error:
            raise InvalidInputError(str(error)) from error
        if len(content) > self._policy.file_bytes:
            most = readable_size(self._policy.file_bytes)
            raise InvalidInputError(f"is larger than {most}, the most that {FILE_MB} allows")

        def fill(target: BinaryIO) -> str:
            self._count(len(content))
            target.write(content)
            return hashlib.sha256(content).hexdigest()

        return self._put(entry, fill)

    def download(self, entry: Entry, downloads: Downloads) -> str:
        """Puts the file at a URL; returns its sha256. Raises as `Downloads.fetch` does."""
        return self._put(
            entry,
            lambda target: downloads.fetch(entry.content, entry.name, target, self._count),
        )

    def _put(self, entry: Entry, fill: Callable[[BinaryIO], str]) -> str:
        arriving = self._partial / str(next(self._numbers))
        with arriving.open("xb") as target:
            found = fill(target)
        require_sha256(found, entry.sha256)
        end_if_interrupted()
        place = self.files / entry.name
        place.parent.mkdir(parents=True, exist_ok=True)
        arriving.rename(place)
        return found

    def _count(self, size_bytes: int) -> None:
        with self._lock:
            self._left_bytes -= size_bytes
            if self._left_bytes < 0:
                most = readable_size(self._policy.total_bytes)
                raise InvalidInputError(
                    f"the files of the job are larger than {most}, the most that {TOTAL_MB} allows"
                )


def _each(put: Callable[[Entry], str], entries: Sequence[Entry], *, threads: int) -> dict[str, str]:
    """The sha256 of each file by its name. Raises one error for all that fail."""
    digests = for_all(
        put, entries, field_of=lambda entry: entry.field, kind="input files", threads=threads
    )
    return {entry.name: digest for entry, digest in zip(entries, digests, strict=True)}
