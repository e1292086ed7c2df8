"""Reads a bundle from start to end, as untrusted input: nothing is used before it is checked."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from comfy_errors import InvalidInputError, MismatchError, UnavailableError
from comfy_files.files import COPY_BYTES
from comfy_home.lock_bytes import canonical_bytes, lock_bytes
from runpod_comfy.bundle.format import (
    BUNDLE_VERSION,
    END,
    INDEX,
    LOCK,
    SPEC,
    Entry,
    Index,
    parts_of,
    tree_path,
)
from runpod_comfy.lock.model import Lock
from runpod_comfy.lock.store import invalid_lock
from runpod_comfy.spec.load import parse_spec, spec_digest

_LARGEST_TEXT_BYTES = 64 * 1024**2
_MAKE_AGAIN = "Make it again with this program: runpod-comfy bundle create ID"
_BRING_AGAIN = "Copy the bundle here again, or make it again: runpod-comfy bundle create ID"


@dataclass(frozen=True, kw_only=True)
class OpenBundle:
    """A bundle whose index, lock and spec were read and are consistent."""

    path: Path
    stream: IO[bytes]
    index: Index
    lock: Lock
    spec: bytes

    @property
    def entries(self) -> list[Entry]:
        """The entries that have not been read yet, in order."""
        return self.index.entries[2:]

    def read(self) -> Iterator[tuple[Entry, Iterator[bytes]]]:
        """Each entry with its content, which is checked to its end even if the caller does not read
        it. Raises MismatchError naming the first entry with wrong bytes.
        """
        parts = parts_of(self.lock, self.index.handler)
        for entry in self.entries:
            content = _content(self.stream, entry, f"{parts[entry.path].title} in {self.path}")
            yield entry, content
            for _ in content:
                pass
        if self.stream.read() != END:
            raise _wrong(f"the end of {self.path}")


@contextlib.contextmanager
def open_bundle(path: Path) -> Iterator[OpenBundle]:
    """Opens a bundle and checks everything in it except the bytes of its parts.

    Raises UnavailableError if there is no file, InvalidInputError if it is not a bundle or is
    truncated, MismatchError if it has wrong bytes.
    """
    try:
        stream = path.open("rb")
    except FileNotFoundError as error:
        raise UnavailableError(f"there is no file {path}", remedy="Check the path.") from error
    except OSError as error:
        raise InvalidInputError(
            f"{path} cannot be read: {error.strerror}", remedy="Name the file of a bundle."
        ) from error
    with stream:
        index = _read_index(stream, path)
        excess = os.fstat(stream.fileno()).st_size - index.size_of_bundle()
        if excess < 0:
            raise _cut_short(path)
        if excess > 0:
            raise _foreign(path, f"{excess} bytes follow its end")
        if [entry.path for entry in index.entries[:2]] != [LOCK, SPEC]:
            raise _foreign(path, f"it does not start with {LOCK} and {SPEC}")
        packed_lock, spec = (
            b"".join(_content(stream, entry, f"{entry.path} of {path}"))
            for entry in index.entries[:2]
        )
        try:
            lock = Lock.model_validate_json(packed_lock)
        except ValidationError as error:
            raise invalid_lock(f"the lock in {path}", error, _MAKE_AGAIN) from error
        if not _is_canonical(packed_lock, lock):
            raise InvalidInputError(
                f"the lock in {path} is not written as this program writes locks",
                remedy=_MAKE_AGAIN,
            )
        _require_agreement(index, lock, spec, path)
        yield OpenBundle(path=path, stream=stream, index=index, lock=lock, spec=spec)


def is_bundle(path: Path) -> bool:
    """True for a file that begins as a bundle does, even if it is damaged or of another version."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return _index_size(stream.read(tarfile.BLOCKSIZE)) is not None


def _index_size(header: bytes) -> int | None:
    """The size of the index in bytes from its tar header; None for any other header."""
    try:
        found = tarfile.TarInfo.frombuf(header, "ascii", "surrogateescape")
    except tarfile.HeaderError:
        return None
    fits = found.name == INDEX and 0 < found.size <= _LARGEST_TEXT_BYTES
    return found.size if fits else None


def _read_index(stream: IO[bytes], path: Path) -> Index:
    header = stream.read(tarfile.BLOCKSIZE)
    size_bytes = _index_size(header)
    if size_bytes is None:
        raise _foreign(path, f"it does not begin with {INDEX}")
    entry = Entry(path=INDEX, size=size_bytes, sha256="")
    content, zeros = stream.read(entry.size), stream.read(len(entry.padding))
    if len(content) + len(zeros) < entry.size + len(entry.padding):
        raise _cut_short(path)
    try:
        index = Index.model_validate_json(content)
    except ValidationError as error:
        for each in error.errors():
            if each["loc"] == ("bundle_version",):
                raise InvalidInputError(
                    f"{path} is a bundle of version {each['input']}; "
                    f"this program reads {BUNDLE_VERSION}",
                    remedy=_MAKE_AGAIN,
                ) from error
        if header != entry.header:
            raise _foreign(path, f"its {INDEX} is not valid") from error
        raise _wrong(f"{INDEX} of {path}") from error
    if (header, content, zeros) != (entry.header, index.to_bytes(), entry.padding):
        raise _wrong(f"{INDEX} of {path}")
    paths = {entry.path for entry in index.entries}
    if len(paths) != len(index.entries):
        raise _foreign(path, "it has two entries with the same name")
    return index


def _content(stream: IO[bytes], entry: Entry, title: str) -> Iterator[bytes]:
    """The content of the next entry; raises MismatchError at its end if its bytes are wrong."""
    header = entry.header
    digest = hashlib.sha256()
    if stream.read(len(header)) != header:
        raise _wrong(title)
    left = entry.size
    while left and (chunk := stream.read(min(left, COPY_BYTES))):
        left -= len(chunk)
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != entry.sha256 or stream.read(len(entry.padding)) != entry.padding:
        raise _wrong(title)


def _require_agreement(index: Index, lock: Lock, spec: bytes, path: Path) -> None:
    """Raises InvalidInputError if the entries are not those of the lock."""
    if index.platform not in lock.python.platforms:
        raise _foreign(path, f"its lock is not for {index.platform}")
    try:
        text = spec.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _foreign(path, f"{SPEC} is not text") from error
    if spec_digest(parse_spec(text, where=f"the spec in {path}")) != lock.spec_digest:
        raise _foreign(path, "its lock does not match its spec")
    if len(index.epochs) != len(lock.trees):
        raise _foreign(path, "its trees are not those of its lock")
    if max(index.epochs) > lock.epoch:
        raise _foreign(path, "a tree in it is newer than its lock")
    parts = parts_of(lock, index.handler)
    entries = index.entries[2:]
    for entry in entries:
        part = parts.get(entry.path)
        if part is None or not (
            part.sha256 in (None, entry.sha256) and part.size in (None, entry.size)
        ):
            raise _foreign(path, f"the entry {entry.path!a} is not in its lock")
    promised = {tree_path(tree) for tree in lock.trees}
    promised |= {f"wheels/{file.sha256}" for file in index.handler}
    if index.models:
        promised |= {each for each in parts if each.startswith("models/")}
    if missing := promised - {entry.path for entry in entries}:
        raise _foreign(path, f"{min(missing)} is not in it")


def _is_canonical(packed: bytes, lock: Lock) -> bool:
    """True if a lock has the bytes that this program or an earlier one writes."""
    document = json.loads(packed)
    return canonical_bytes(document) == packed and lock_bytes(document) == lock.to_bytes()


def _foreign(path: Path, why: str) -> InvalidInputError:
    return InvalidInputError(f"{path} is not a bundle of this program: {why}", remedy=_BRING_AGAIN)


def _cut_short(path: Path) -> InvalidInputError:
    return InvalidInputError(f"{path} is truncated", remedy=_BRING_AGAIN)


def _wrong(what: str) -> MismatchError:
    return MismatchError(f"{what} is corrupt", remedy=_BRING_AGAIN)
