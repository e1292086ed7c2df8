"""Lock files on disk: where they are searched for, how they are read and written."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from comfy_errors import InvalidInputError, UnavailableError
from comfy_files.files import disk_errors, replace_file
from comfy_files.json_faults import faults_in_words
from comfy_files.json_file import read_object
from comfy_files.user_paths import expanded
from comfy_home.lock_bytes import LOCK_VERSION, READ_VERSIONS
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.roots import record_root
from runpod_comfy.lock.model import Lock
from runpod_comfy.spec.load import LoadedSpec, spec_digest
from runpod_comfy.spec.values import VersionId

_COMMITTED_NAME = re.compile(r"comfy-(.+)\.lock\.json")


def committed_lock_path(spec_path: Path, version_id: str) -> Path:
    """The path at which a spec's lock is committed: `lockfiles/` beside the spec's `versions/`.

    The lock of a spec outside a `versions` folder is beside the spec.
    """
    folder = spec_path.absolute().parent
    home = folder.parent / "lockfiles" if folder.name == "versions" else folder
    return home / f"comfy-{version_id}.lock.json"


def load_lock(path: Path, *, version_id: str | None = None) -> Lock:
    """Reads a lock. Raises UnavailableError if the file is missing, InvalidInputError if it is
    broken; the remedy names `version_id`, else the version that the file is of.
    """
    unset = "Unset or correct LOCK_PATH. " if path == _named_lock() else ""
    known = version_id or _version_of(path)
    try:
        document = read_object(path, "lock", remedy=unset + _replacing(known))
    except UnavailableError as error:
        make = f"Restore it from git, or make it again: runpod-comfy resolve {known or '<id>'}"
        raise UnavailableError(error.message, remedy=unset + make) from error
    replacing = _replacing(known or _valid_id(document.get("version_id")))
    found = document.get("lock_version")
    if found is None:
        raise _no_lock(path, document, unset=unset, replacing=replacing)
    if found not in READ_VERSIONS:
        versions = " and ".join(map(str, READ_VERSIONS))
        is_newer = isinstance(found, int) and found > LOCK_VERSION
        newer = "Use a newer version of this program. Or: " if is_newer else ""
        raise InvalidInputError(
            f"the lock {path} has lock_version {found!r}; this program reads {versions}",
            remedy=unset + newer + replacing,
        )
    try:
        return Lock.model_validate(document)
    except ValidationError as error:
        raise invalid_lock(f"the lock {path}", error, unset + replacing) from error


def _no_lock(
    path: Path, document: dict[str, Any], *, unset: str, replacing: str
) -> InvalidInputError:
    fault = f"{path} is not a lock: it has no 'lock_version'"
    if path.name.endswith(".lock.json"):
        return InvalidInputError(fault, remedy=unset + replacing)
    if "schema_version" in document and "comfy" in document:
        return InvalidInputError(
            f"{path} is a spec, not a lock",
            remedy="Unset LOCK_PATH, and pass the file with --spec."
            if unset
            else "Pass it with --spec instead.",
        )
    version_id = _valid_id(document.get("version_id")) or "<id>"
    usual = f"lockfiles/comfy-{version_id}.lock.json"
    return InvalidInputError(fault, remedy=f"{unset}Name a lock; that of a version is {usual}.")


def _replacing(version_id: str | None) -> str:
    """The next step for a broken lock: without one of them, `resolve` would lose its pins."""
    return (
        "Restore it, for example from git, or delete it. To make a new lock with the newest of "
        f"everything: runpod-comfy resolve {version_id or '<id>'} --upgrade"
    )


def _version_of(path: Path) -> str | None:
    """The version whose committed lock has the name of this file."""
    found = _COMMITTED_NAME.fullmatch(path.name)
    return _valid_id(found[1]) if found else None


def _valid_id(found: Any) -> str | None:
    try:
        return TypeAdapter(VersionId).validate_python(found)
    except ValidationError:
        return None


def invalid_lock(title: str, error: ValidationError, remedy: str) -> InvalidInputError:
    """The error for a lock that does not validate; `title` names the lock."""
    return InvalidInputError(f"{title} is not valid: {faults_in_words(error)}", remedy=remedy)


def find_lock(loaded: LoadedSpec, cache: Cache) -> tuple[Lock, Path] | None:
    """The lock that matches this spec, from `LOCK_PATH`, `lockfiles/` or the cache.

    A lock of another spec is an error (InvalidInputError) at LOCK_PATH, because the user named it,
    and ignored elsewhere.
    """
    if named := _named_lock():
        lock = load_lock(named, version_id=loaded.spec.version_id)
        if lock.spec_digest != spec_digest(loaded.spec):
            raise InvalidInputError(
                f"LOCK_PATH names {named}, the lock of {lock.version_id!r}, "
                f"which does not match the current {loaded.path}",
                remedy="Unset LOCK_PATH, or resolve the spec again.",
            )
        return lock, named
    return matching_lock(loaded, cache)


def matching_lock(loaded: LoadedSpec, cache: Cache) -> tuple[Lock, Path] | None:
    """The lock that matches this spec, ignoring LOCK_PATH: for commands on several specs."""
    for lock, path in _locks(loaded, cache):
        if lock.spec_digest == spec_digest(loaded.spec):
            return lock, path
    return None


def last_lock(loaded: LoadedSpec, cache: Cache) -> tuple[Lock, Path]:
    """The lock to check for drift: the one that matches the spec, else the last one.

    The lock at LOCK_PATH, if that is set, whichever spec it matches. Raises UnavailableError if
    there is none, InvalidInputError if it is broken.
    """
    if named := _named_lock():
        return load_lock(named, version_id=loaded.spec.version_id), named
    if found := matching_lock(loaded, cache):
        return found
    for lock, path in _locks(loaded, cache):
        return lock, path
    raise UnavailableError(
        f"there is no lock for {loaded.path} yet",
        remedy=f"Run: runpod-comfy resolve {loaded.spec.version_id}",
    )


def previous_lock(loaded: LoadedSpec, cache: Cache) -> Lock | None:
    """The version's last lock, whichever spec it matches: its pins are kept if they fit.

    Raises InvalidInputError if it is broken, because its pins would be lost.
    """
    return next((lock for lock, _ in _locks(loaded, cache)), None)


def _locks(loaded: LoadedSpec, cache: Cache) -> Iterator[tuple[Lock, Path]]:
    """The locks of a version that are there, the committed one first."""
    version_id = loaded.spec.version_id
    for path in _lock_paths(loaded.path, version_id, cache):
        if path.is_file():
            yield load_lock(path, version_id=version_id), path


def _named_lock() -> Path | None:
    named = os.environ.get("LOCK_PATH")
    return expanded(named) if named else None


def _lock_paths(spec_path: Path, version_id: str, cache: Cache) -> tuple[Path, Path]:
    """The committed lock, and its copy in the shared cache."""
    cached = cache.resolved / f"{version_id}.lock.json"
    return committed_lock_path(spec_path, version_id), cached


def write_lock_again(
    lock: Lock, path: Path | None, *, spec_path: Path | None, cache: Cache
) -> list[Path]:
    """Writes a lock that was read from `path`: both copies of its spec's lock, if that was one of
    them, and else that file.

    At least one of the two paths is not None. Returns the paths whose content changed.
    """
    if spec_path is not None:
        copies = _lock_paths(spec_path, lock.version_id, cache)
        if path is None or path in copies:
            return write_lock(lock, spec_path=spec_path, cache=cache)
    assert path is not None
    with disk_errors(f"the lock {path} could not be written"):
        replace_file(path, lock.to_bytes())
    return [path]


def write_lock(lock: Lock, *, spec_path: Path, cache: Cache) -> list[Path]:
    """Writes both copies atomically, and returns the paths whose content changed."""
    paths, content = _lock_paths(spec_path, lock.version_id, cache), lock.to_bytes()
    record_root(cache, kind="lock", path=paths[0], lock_bytes=content)
    changed = [path for path in paths if not path.is_file() or path.read_bytes() != content]
    for path in changed:
        in_cache = path.is_relative_to(cache.root)
        refused = f"the lock {path} could not be written"
        with cache.writing() if in_cache else disk_errors(refused):
            replace_file(path, content, workplace=cache.tmp if in_cache else None)
    return changed
