"""Lock files on disk: where they are looked for, how they are read and written."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from pydantic import ValidationError

from comfy_errors import InvalidInputError, UnavailableError
from runpod_comfy.lock.model import LOCK_VERSION, Lock
from runpod_comfy.sources.cache import Cache
from runpod_comfy.spec.write import replace_file


def lock_name(version_id: str) -> str:
    """The file name of a version's lock in `lockfiles/`."""
    return f"comfy-{version_id}.lock.json"


def committed_lock_path(spec_path: Path, version_id: str) -> Path:
    """Where people commit the lock of a spec: `lockfiles/` beside the spec's `versions/`.

    A spec outside a `versions` folder has its lock beside itself.
    """
    folder = spec_path.absolute().parent
    home = folder.parent / "lockfiles" if folder.name == "versions" else folder
    return home / lock_name(version_id)


def cached_lock_path(cache: Cache, version_id: str) -> Path:
    """The copy of the lock in the shared cache."""
    return cache.resolved / f"{version_id}.lock.json"


def load_lock(path: Path) -> Lock:
    """Reads a lock. Raises UnavailableError without a file, InvalidInputError for a broken one."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UnavailableError(
            f"there is no lock at {path}", remedy="Make it with: runpod-comfy resolve <id>"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(
            f"the lock {path} cannot be read: {error}",
            remedy="Check its permissions, or restore it from git.",
        ) from error
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidInputError(
            f"the lock {path} is not JSON (line {error.lineno}, column {error.colno}: {error.msg})",
            remedy="Restore it from git, or make it again: runpod-comfy resolve <id>",
        ) from error
    found = document.get("lock_version") if isinstance(document, dict) else None
    if found != LOCK_VERSION:
        raise InvalidInputError(
            f"the lock {path} has lock_version {found!r}; this program reads {LOCK_VERSION}",
            remedy="Make it again with this program: runpod-comfy resolve <id>",
        )
    try:
        return Lock.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidInputError(
            f"the lock {path} is not valid at '{where}': {first['msg']}",
            remedy="Restore it from git, or make it again: runpod-comfy resolve <id>",
        ) from error


def find_lock(
    *, spec_digest: str, spec_path: Path, version_id: str, cache: Cache
) -> tuple[Lock, Path] | None:
    """The lock that answers this spec, from `LOCK_PATH`, `lockfiles/` or the cache.

    A lock at LOCK_PATH is meant by its owner, so one that answers another spec is an error there
    (InvalidInputError) and merely passed over elsewhere.
    """
    if named := os.environ.get("LOCK_PATH"):
        lock = load_lock(Path(named))
        if lock.spec_digest != spec_digest:
            raise InvalidInputError(
                f"LOCK_PATH names {named}, the lock of {lock.version_id!r}, "
                f"which does not answer {spec_path} as it is now",
                remedy="Unset LOCK_PATH, or resolve the spec again.",
            )
        return lock, Path(named)
    for path in (committed_lock_path(spec_path, version_id), cached_lock_path(cache, version_id)):
        if path.is_file():
            lock = load_lock(path)
            if lock.spec_digest == spec_digest:
                return lock, path
    return None


def previous_lock(spec_path: Path, version_id: str, cache: Cache) -> Lock | None:
    """The version's last lock, whichever spec it answered: its pins are kept where they fit.

    A lock that cannot be read is no lock to keep pins of; it will be replaced.
    """
    for path in (committed_lock_path(spec_path, version_id), cached_lock_path(cache, version_id)):
        with contextlib.suppress(UnavailableError, InvalidInputError):
            return load_lock(path)
    return None


def write_lock(lock: Lock, *, spec_path: Path, cache: Cache) -> list[Path]:
    """Writes both copies, each at one stroke, and returns those whose content changed."""
    paths = [
        committed_lock_path(spec_path, lock.version_id),
        cached_lock_path(cache, lock.version_id),
    ]
    return [path for path in paths if _replace_if_different(path, lock.to_bytes())]


def _replace_if_different(path: Path, content: bytes) -> bool:
    if path.is_file() and path.read_bytes() == content:
        return False
    replace_file(path, content)
    return True
