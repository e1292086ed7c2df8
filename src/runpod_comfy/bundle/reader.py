"""Reads a bundle from its beginning to its end, as untrusted input: nothing is taken for granted
that was not checked before."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from comfy_errors import InvalidInputError, MismatchError, UnavailableError
from runpod_comfy.bundle.format import (
    BLOCK_BYTES,
    BUNDLE_VERSION,
    CONTENTS,
    END,
    LOCK,
    SPEC,
    Contents,
    Entry,
    contents_digest,
    header,
    padding,
    size_in_header,
    span,
)
from runpod_comfy.lock.model import Lock
from runpod_comfy.spec.digest import spec_digest
from runpod_comfy.spec.load import parse_spec

_CHUNK_BYTES = 1 << 20
_LARGEST_TEXT_BYTES = 64 * 1024**2
_BRING_AGAIN = "Bring the bundle here again, or make it again: runpod-comfy bundle create ID"


@dataclass(frozen=True, kw_only=True)
class OpenBundle:
    """A bundle whose contents, lock and spec were read and fit each other.

    `entries` are those that are still to be read, in order.
    """

    path: Path
    stream: IO[bytes]
    contents: Contents
    lock: Lock
    lock_bytes: bytes
    spec: bytes
    size_bytes: int

    @property
    def entries(self) -> list[Entry]:
        return [entry for entry in self.contents.entries if entry.path not in (LOCK, SPEC)]

    def read(self, entry: Entry) -> Iterator[bytes]:
        """The bytes of the next entry. Raises MismatchError at their end if they are wrong."""
        return _read_entry(self.stream, entry, entry.path)

    def finish(self) -> None:
        """Reads what has to follow the last entry."""
        if self.stream.read(len(END)) != END:
            raise _wrong(f"the end of {self.path}")


@contextlib.contextmanager
def open_bundle(path: Path) -> Iterator[OpenBundle]:
    """Opens a bundle and checks everything in it but the bytes of its parts.

    Raises UnavailableError without a file, InvalidInputError for one that is no bundle or is cut
    short, MismatchError for one with a wrong byte.
    """
    try:
        stream = path.open("rb")
    except FileNotFoundError as error:
        raise UnavailableError(f"there is no file {path}", remedy="Check the path.") from error
    except OSError as error:
        raise InvalidInputError(
            f"{path} cannot be read: {error.strerror}", remedy="Name a bundle's file."
        ) from error
    with stream:
        size = os.fstat(stream.fileno()).st_size
        contents = _read_contents(stream, path)
        _require_size(contents, path, size)
        entries = contents.entries
        if [entry.path for entry in entries[:2]] != [LOCK, SPEC]:
            raise _foreign(path, f"{LOCK} and {SPEC} do not come first in it")
        lock_bytes, spec = (_read_text(stream, entry) for entry in entries[:2])
        lock = _read_lock(lock_bytes, path)
        bundle = OpenBundle(
            path=path,
            stream=stream,
            contents=contents,
            lock=lock,
            lock_bytes=lock_bytes,
            spec=spec,
            size_bytes=size,
        )
        _require_agreement(bundle)
        yield bundle


def _read_contents(stream: IO[bytes], path: Path) -> Contents:
    block = stream.read(BLOCK_BYTES)
    size = size_in_header(block) if len(block) == BLOCK_BYTES else -1
    if not 0 < size <= _LARGEST_TEXT_BYTES or block != header(CONTENTS, size):
        raise _foreign(path, f"it does not begin with {CONTENTS}")
    table = stream.read(size)
    rest = stream.read(len(padding(size)))
    if len(rest) != len(padding(size)):
        raise _cut_short(path)
    try:
        contents = Contents.model_validate_json(table)
    except ValidationError as error:
        raise _wrong(f"{CONTENTS} of {path}") from error
    if contents.bundle_version != BUNDLE_VERSION:
        raise InvalidInputError(
            f"{path} is a bundle of version {contents.bundle_version}; "
            f"this program reads {BUNDLE_VERSION}",
            remedy="Make it again with this program: runpod-comfy bundle create ID",
        )
    whole = contents.to_bytes() == table and rest == padding(size)
    if not whole or contents.digest != contents_digest(contents):
        raise _wrong(f"{CONTENTS} of {path}")
    return contents


def _require_size(contents: Contents, path: Path, size: int) -> None:
    paths = [entry.path for entry in contents.entries]
    if len(set(paths)) != len(paths):
        raise _foreign(path, "it has two entries of one name")
    if any(entry.size < 0 for entry in contents.entries):
        raise _foreign(path, "it has an entry of negative size")
    table = contents.to_bytes()
    expected = span(len(table)) + sum(span(e.size) for e in contents.entries) + len(END)
    if size < expected:
        raise _cut_short(path)
    if size > expected:
        raise _foreign(path, f"{size - expected} bytes follow its end")


def _read_text(stream: IO[bytes], entry: Entry) -> bytes:
    if entry.size > _LARGEST_TEXT_BYTES:
        raise InvalidInputError(f"{entry.path} is too large: {entry.size} bytes")
    return b"".join(_read_entry(stream, entry, entry.path))


def _read_entry(stream: IO[bytes], entry: Entry, title: str) -> Iterator[bytes]:
    if stream.read(BLOCK_BYTES) != _header_of(entry):
        raise _wrong(f"the header of {title}")
    digest = hashlib.sha256()
    left = entry.size
    while left:
        chunk = stream.read(min(left, _CHUNK_BYTES))
        if not chunk:
            raise _wrong(title)
        left -= len(chunk)
        digest.update(chunk)
        yield chunk
    zeros = padding(entry.size)
    if digest.hexdigest() != entry.sha256 or stream.read(len(zeros)) != zeros:
        raise _wrong(title)


def _header_of(entry: Entry) -> bytes:
    try:
        return header(entry.path, entry.size)
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(
            f"the bundle has an entry of an impossible name or size: {entry.path!a}",
            remedy=_BRING_AGAIN,
        ) from error


def _read_lock(content: bytes, path: Path) -> Lock:
    try:
        lock = Lock.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInputError(
            f"the lock in {path} is not valid at '{where}': {first['msg']}",
            remedy="Make the bundle again with this program: runpod-comfy bundle create ID",
        ) from error
    if lock.to_bytes() != content:
        raise InvalidInputError(
            f"the lock in {path} is not written as this program writes locks",
            remedy="Make the bundle again with this program: runpod-comfy bundle create ID",
        )
    return lock


def _require_agreement(bundle: OpenBundle) -> None:
    """Raises InvalidInputError if the parts are not those of the lock."""
    contents, lock, path = bundle.contents, bundle.lock, bundle.path
    if (contents.version_id, contents.lock_digest) != (lock.version_id, lock.digest):
        raise _foreign(path, "its lock is of another version than it says")
    if contents.platform not in lock.python.platforms:
        raise _foreign(path, f"its lock is not for {contents.platform}")
    spec = parse_spec(_text(bundle.spec, path), where=f"the spec in {path}")
    if spec_digest(spec) != lock.spec_digest:
        raise _foreign(path, "its lock does not answer its spec")
    trees = {
        (tree.repo, tree.commit, tree.subdir): f"trees/{tree.tree_hash.removeprefix('tree:')}.tar"
        for tree in (lock.comfy, *lock.custom_nodes)
    }
    described = {(tree.repo, tree.commit, tree.subdir): tree.entry for tree in contents.trees}
    if described != trees or len(contents.trees) != len(trees):
        raise _foreign(path, "its trees are not those of its lock")
    if any(tree.epoch > lock.epoch for tree in contents.trees):
        raise _foreign(path, "a tree in it is newer than its lock")
    files = {
        f"wheels/{file.sha256}": (file.sha256, file.size)
        for distribution in (*lock.python.torch, *lock.python.wheels)
        for file in distribution.files
    }
    models = {f"models/{model.sha256}": (model.sha256, model.size) for model in lock.models}
    for entry in bundle.entries:
        if entry.path in trees.values():
            continue
        sha256, size = {**files, **models}.get(entry.path, (None, None))
        if sha256 != entry.sha256 or size not in (None, entry.size):
            raise _foreign(path, f"the entry {entry.path!a} is not of its lock")
    paths = {entry.path for entry in bundle.entries}
    promised = {*trees.values(), *(models if contents.models else ())}
    if promised - paths:
        raise _foreign(path, f"{min(promised - paths)} is not in it")


def _text(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _foreign(path, f"{SPEC} is not text") from error


def _foreign(path: Path, why: str) -> InvalidInputError:
    return InvalidInputError(f"{path} is not a bundle of this program: {why}", remedy=_BRING_AGAIN)


def _cut_short(path: Path) -> InvalidInputError:
    return InvalidInputError(f"{path} is cut short", remedy=_BRING_AGAIN)


def _wrong(what: str) -> MismatchError:
    return MismatchError(f"{what} has a wrong byte", remedy=_BRING_AGAIN)
