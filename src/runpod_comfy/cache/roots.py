"""The roots of the cache: each lock, home and models folder on this machine that needs it, by path.

`roots/<sha256 of the path>.json` holds the whole lock, so that `gc` knows what a home needs even if
its lock is gone, or a lock that is currently not there.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from comfy_errors import InvalidInputError
from comfy_files.files import os_reason, replace_file
from runpod_comfy.cache.paths import Cache

RootKind = Literal["lock", "home", "models"]

_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


@dataclass(frozen=True, kw_only=True)
class Root:
    """`path` is a lock file, a home, or a models folder whose links lead into the store.

    `lock` is the lock's document, None for a models folder. `gone_since` is when `gc` first found
    nothing at `path`, in seconds since 1970.
    """

    kind: RootKind
    path: Path
    lock: dict[str, Any] | None = None
    gone_since: int | None = None

    @property
    def noun(self) -> str:
        """The kind of root, in messages."""
        return {"lock": "lock", "home": "version", "models": "models folder"}[self.kind]


def record_root(
    cache: Cache, *, kind: RootKind, path: Path, lock_bytes: bytes | None = None
) -> None:
    """Records that `path` needs the cache. A read-only cache is maintained by another machine.

    Raises OperationFailedError for any other disk error.
    """
    lock = json.loads(lock_bytes) if lock_bytes is not None else None
    with cache.writing():
        try:
            save_root(cache, Root(kind=kind, path=path.absolute(), lock=lock))
        except OSError as error:
            if error.errno not in _READ_ONLY:
                raise


def record_models(cache: Cache, folder: Path) -> None:
    """Records a models folder whose links keep models; nothing if there is no such folder yet."""
    if folder.is_dir():
        record_root(cache, kind="models", path=folder)


def is_recorded(cache: Cache, path: Path) -> bool:
    """True if `path` is a recorded root. A fast check for commands that must not wait."""
    return root_file(cache, path).exists()


def forget_root(cache: Cache, path: Path) -> None:
    """Records that `path` no longer needs the cache."""
    with contextlib.suppress(OSError):
        root_file(cache, path).unlink()


def read_roots(cache: Cache) -> list[Root]:
    """Every root, by path. Raises InvalidInputError for one that cannot be read."""
    found = [_read(file) for file in cache.roots.glob("*.json")]
    return sorted(found, key=lambda root: str(root.path))


def recorded_root(cache: Cache, path: Path) -> Root | None:
    """The root recorded for `path`, None if there is none. Raises as `read_roots` does."""
    file = root_file(cache, path)
    return _read(file) if file.exists() else None


def save_root(cache: Cache, root: Root) -> None:
    """Writes a root atomically, if it has changed."""
    document = {**vars(root), "path": str(root.path)}
    content = (json.dumps(document, sort_keys=True) + "\n").encode()
    place = root_file(cache, root.path)
    with contextlib.suppress(OSError):
        if place.read_bytes() == content:
            return
    replace_file(place, content, workplace=cache.tmp)


def _read(file: Path) -> Root:
    try:
        document = json.loads(file.read_bytes())
        return Root(**{**document, "path": Path(document["path"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInputError(
            f"{file} is not a valid record of a lock, home or models folder: {os_reason(error)}",
            remedy="Remove that file: its version is recorded again when it is realized or "
            "resolved.",
        ) from error


def root_file(cache: Cache, path: Path) -> Path:
    """The file that records `path`, existing or not."""
    name = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()
    return cache.roots / f"{name}.json"
