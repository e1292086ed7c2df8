"""Where a model file is written, and where it is once it is whole."""

from __future__ import annotations

import errno
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from comfy_files.files import sha256_of
from comfy_models.store import LEARNT, LEASE, PARTIAL, PARTS, ModelStore
from comfy_models.unsynced import sync_or_mark

OTHER_STORE = (
    "Make room there and check its permissions, or set COMFY_CACHE_MODELS to a folder that you can "
    "write to."
)

OTHER_FOLDER = (
    "Make room there and check its permissions, or name another models folder with --models-dir or "
    "MODELS_DIR."
)


@dataclass(frozen=True, kw_only=True)
class Place:
    """`final` is the file's own path, None if that depends on its sha256.

    `key` begins the names in `work`, on the same file system, while it is transferred: of its bytes
    so far, of which they are, and of who writes them. `store` is where it will be, None for a file
    outside any.
    """

    final: Path | None
    work: Path
    key: str
    store: ModelStore | None

    @property
    def partial(self) -> Path:
        return self.work / f"{self.key}{PARTIAL}"

    @property
    def parts(self) -> Path:
        return self.work / f"{self.key}{PARTS}"

    @property
    def lease(self) -> Path:
        return self.work / f"{self.key}{LEASE}"

    @property
    def learnt(self) -> Path:
        """The sha256 of a file whose place depends on it, once it was downloaded."""
        return self.work / f"{self.key}{LEARNT}"

    @property
    def written_bytes(self) -> int:
        """The room that the bytes so far take on the disk."""
        try:
            return self.partial.stat().st_blocks * 512
        except OSError:
            return 0

    def path_of(self, sha256: str) -> Path:
        """The file's own path, given its sha256."""
        if self.store is not None:
            return self.store.path_of(sha256)
        return self.final or self.work / sha256

    def is_done(self) -> bool:
        """True if the file has its final name and was not lost since."""
        if self.store is not None:
            return self.final is not None and self.store.holds(self.final.name)
        return self.final is not None and self.final.is_file()

    def recover(self, sha256: str) -> bool:
        """True if the file is there after all; if it was lost, nothing of it is left."""
        if self.is_done() or self.store is None or self.final is None:
            return self.is_done()
        mark = self.store.mark_of(sha256)
        if self.final.is_file() and sha256_of(self.final) == sha256:
            mark.unlink(missing_ok=True)
            self.discard()
            return True
        self.final.unlink(missing_ok=True)
        mark.unlink(missing_ok=True)
        return False

    def discard(self) -> None:
        """Removes the bytes so far."""
        self.partial.unlink(missing_ok=True)
        self.parts.unlink(missing_ok=True)

    def put(self, sha256: str, descriptor: int) -> None:
        """Gives the open file with this sha256 its final name."""
        final = self.path_of(sha256)
        if self.final is None and self.store is not None and self.store.holds(sha256):
            self.discard()
            return
        if self.store is None:
            os.fsync(descriptor)
        else:
            sync_or_mark(descriptor, self.store.mark_of(sha256))
            # Homes link to it, and a node may write to what it takes for its own file.
            os.fchmod(descriptor, 0o444)
        final.parent.mkdir(parents=True, exist_ok=True)
        self.partial.replace(final)
        self.parts.unlink(missing_ok=True)


def open_own(path: Path) -> int:
    """A descriptor of a file that only transfers write, made if need be; a link is replaced."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o644)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    path.unlink(missing_ok=True)
    return os.open(path, flags, 0o644)


def in_store(store: ModelStore, sha256: str) -> Place:
    return Place(final=store.path_of(sha256), work=store.root / "tmp", key=sha256, store=store)


def unhashed_key(url: str) -> str:
    """Begins the names in `tmp` of a file whose sha256 is not known yet, for each attempt at it."""
    return hashlib.sha256(url.encode()).hexdigest()


def unhashed_in_store(store: ModelStore, url: str) -> Place:
    """For a file at `url` whose sha256 is not known yet."""
    return Place(final=None, work=store.root / "tmp", key=unhashed_key(url), store=store)


def outside_store(path: Path, sha256: str) -> Place:
    return Place(final=path, work=path.parent, key=f".{sha256}", store=None)
