"""Lock files on disk: where they are looked for, how they are read and written."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from pydantic import ValidationError

from comfy_errors import InvalidInputError, UnavailableError
from comfy_files.atomic import replace_file
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.roots import record_root
from runpod_comfy.lock.model import LOCK_VERSION, Lock
from runpod_comfy.spec.digest import spec_digest as spec_digest_of
from runpod_comfy.spec.load import LoadedSpec


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
    return _answering(spec_digest, spec_path, version_id, cache)


def lock_answering(loaded: LoadedSpec, cache: Cache) -> tuple[Lock, Path] | None:
    """The same, whatever LOCK_PATH says: for a spec that is one of several."""
    spec = loaded.spec
    return _answering(spec_digest_of(spec), loaded.path, spec.version_id, cache)


def _answering(
    spec_digest: str, spec_path: Path, version_id: str, cache: Cache
) -> tuple[Lock, Path] | None:
    for path in _lock_paths(spec_path, version_id, cache):
        if path.is_file():
            lock = load_lock(path)
            if lock.spec_digest == spec_digest:
                return lock, path
    return None


def last_lock(loaded: LoadedSpec, cache: Cache) -> tuple[Lock, Path]:
    """The lock to compare with the world: the one that answers the spec, else the last one.

    That of LOCK_PATH, whichever spec it answers, if there is one.
    Raises UnavailableError where there is none, InvalidInputError for a broken one.
    """
    if named := os.environ.get("LOCK_PATH"):
        return load_lock(Path(named)), Path(named)
    found = lock_answering(loaded, cache)
    if found is not None:
        return found
    for path in _lock_paths(loaded.path, loaded.spec.version_id, cache):
        if path.is_file():
            return load_lock(path), path
    raise UnavailableError(
        f"there is no lock of {loaded.path} yet",
        remedy=f"Make it with: runpod-comfy resolve {loaded.spec.version_id}",
    )


def _lock_paths(spec_path: Path, version_id: str, cache: Cache) -> tuple[Path, Path]:
    return committed_lock_path(spec_path, version_id), cached_lock_path(cache, version_id)


def previous_lock(spec_path: Path, version_id: str, cache: Cache) -> Lock | None:
    """The version's last lock, whichever spec it answered: its pins are kept where they fit.

    A lock that cannot be read is no lock to keep pins of; it will be replaced.
    """
    for path in _lock_paths(spec_path, version_id, cache):
        with contextlib.suppress(UnavailableError, InvalidInputError):
            return load_lock(path)
    return None


def write_lock(lock: Lock, *, spec_path: Path, cache: Cache) -> list[Path]:
    """Writes both copies, each at one stroke, and returns those whose content changed."""
    paths = _lock_paths(spec_path, lock.version_id, cache)
    record_root(cache, kind="lock", path=paths[0], lock_bytes=lock.to_bytes())
    return [path for path in paths if _replace_if_different(path, lock.to_bytes(), cache)]


def _replace_if_different(path: Path, content: bytes, cache: Cache) -> bool:
    if path.is_file() and path.read_bytes() == content:
        return False
    workplace = cache.tmp if path.is_relative_to(cache.root) else None
    replace_file(path, content, workplace=workplace)
    return True
