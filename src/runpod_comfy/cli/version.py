"""Which version a command is about: from id, spec or lock to a lock and the folders it needs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from comfy_errors import InvalidInputError, UnavailableError
from rp_handler.request import DEFAULT_VERSION_ID
from runpod_comfy.cli.console import Console
from runpod_comfy.lock.model import Lock
from runpod_comfy.lock.store import find_lock, load_lock, write_lock
from runpod_comfy.sources.cache import Cache
from runpod_comfy.sources.tree import Surroundings
from runpod_comfy.spec.digest import spec_digest
from runpod_comfy.spec.load import LoadedSpec, find_spec, load_spec

PROJECT_ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, kw_only=True)
class Selected:
    """A lock, and the folder from which its relative paths are."""

    lock: Lock
    base_dir: Path


def workspace() -> Path:
    """The folder whose `versions/` is meant: the working directory if it has one, else ours."""
    here = Path.cwd()
    return here if (here / "versions").is_dir() else PROJECT_ROOT


def version_id_of(argument: str | None, option: str | None = None) -> str:
    """The id that was asked for, from the argument, the option or COMFY_VERSION_NAME."""
    if argument and option and argument != option:
        raise InvalidInputError(
            f"two versions were named: '{argument}' and '{option}'", remedy="Name one of them."
        )
    return argument or option or os.environ.get("COMFY_VERSION_NAME") or DEFAULT_VERSION_ID


def read_spec(version_id: str, spec: Path | None) -> LoadedSpec:
    """The spec of a version, by file or by id."""
    return load_spec(spec if spec else find_spec(version_id, workspace()))


def surroundings_for(loaded_folder: Path, console: Console, *, offline: bool) -> Surroundings:
    """What the sources need: the caches, the spec's folder, and where to tell of progress."""
    return Surroundings(
        cache=Cache.from_environment(),
        base_dir=loaded_folder,
        offline=offline,
        say=console.say,
    )


def select(
    *, version_id: str, spec: Path | None, lock: Path | None, offline: bool, console: Console
) -> Selected:
    """The lock to work with; resolves the spec first where no lock answers it.

    Raises UnavailableError offline without a lock, and whatever resolving raises.
    """
    if lock is not None:
        return Selected(lock=load_lock(lock), base_dir=_spec_folder_of(lock))
    loaded = read_spec(version_id, spec)
    cache = Cache.from_environment()
    found = find_lock(
        spec_digest=spec_digest(loaded.spec),
        spec_path=loaded.path,
        version_id=loaded.spec.version_id,
        cache=cache,
    )
    if found is not None:
        console.explain(f"Lock: {found[1]}")
        return Selected(lock=found[0], base_dir=loaded.path.parent)
    if offline:
        raise UnavailableError(
            f"no lock answers {loaded.path} as it is now, and --offline forbids making one",
            remedy=f"With a network: runpod-comfy resolve {loaded.spec.version_id}",
        )
    console.say(f"No lock answers {loaded.path} yet: resolving it first")
    return Selected(lock=resolve_and_write(loaded, console), base_dir=loaded.path.parent)


def resolve_and_write(
    loaded: LoadedSpec, console: Console, *, offline: bool = False, keep_pins: bool = True
) -> Lock:
    """Resolves a spec and writes both copies of its lock, saying where."""
    from runpod_comfy.lock.resolve import resolve
    from runpod_comfy.lock.store import previous_lock

    surroundings = surroundings_for(loaded.path.parent, console, offline=offline)
    previous = (
        previous_lock(loaded.path, loaded.spec.version_id, surroundings.cache)
        if keep_pins
        else None
    )
    lock = resolve(loaded, surroundings=surroundings, previous=previous)
    for path in write_lock(lock, spec_path=loaded.path, cache=surroundings.cache):
        console.say(f"Wrote {path}")
    return lock


def _spec_folder_of(lock: Path) -> Path:
    """Relative paths in a lock are from its spec's folder: `versions/` beside `lockfiles/`."""
    folder = lock.absolute().parent
    versions = folder.parent / "versions"
    return versions if folder.name == "lockfiles" and versions.is_dir() else folder
