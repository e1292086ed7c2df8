"""What the cache is kept for: each lock, home and models folder of this machine, by its path.

`roots/<sha256 of the path>.json` holds the whole lock, so that `gc` knows what a home needs whose
lock is gone, and what was needed by a lock that is not there at the moment.
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
        """What it is, for people."""
        return {"lock": "lock", "home": "version", "models": "models folder"}[self.kind]


def record_root(
    cache: Cache, *, kind: RootKind, path: Path, lock_bytes: bytes | None = None
) -> None:
    """Notes that `path` needs the cache. A cache that cannot be written is kept by someone else.

    Raises OperationFailedError when the disk refuses otherwise.
    """
    lock = json.loads(lock_bytes) if lock_bytes is not None else None
    with cache.writing():
        try:
            save_root(cache, Root(kind=kind, path=path.absolute(), lock=lock))
        except OSError as error:
            if error.errno not in _READ_ONLY:
                raise


def record_home(cache: Cache, home: Path, *, lock_bytes: bytes, models_dir: Path | None) -> None:
    """Notes what a home needs, also while it is unfinished: its lock, and the models folder that
    its models are linked from."""
    record_root(cache, kind="home", path=home, lock_bytes=lock_bytes)
    if models_dir is not None:
        record_root(cache, kind="models", path=models_dir)


def is_recorded(cache: Cache, path: Path) -> bool:
    """Whether the cache is kept for `path`: one look, for commands that have no time."""
    return root_file(cache, path).exists()


def forget_root(cache: Cache, path: Path) -> None:
    """What is at `path` needs nothing any more."""
    with contextlib.suppress(OSError):
        root_file(cache, path).unlink()


def read_roots(cache: Cache) -> list[Root]:
    """Every root, by path. Raises InvalidInputError for one that cannot be read."""
    found = [_read(file) for file in cache.roots.glob("*.json")]
    return sorted(found, key=lambda root: str(root.path))


def save_root(cache: Cache, root: Root) -> None:
    """Writes a root atomically, if it says something new."""
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
            f"{file} does not tell what the cache is kept for: {os_reason(error)}",
            remedy="Remove that file: its version is noted again when it is realized or resolved.",
        ) from error


def root_file(cache: Cache, path: Path) -> Path:
    """The file that notes `path`, whether it is there or not."""
    name = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()
    return cache.roots / f"{name}.json"
