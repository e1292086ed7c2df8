"""Roots → locks: what the cache is kept for at this moment."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from comfy_errors import ComfyError, InvalidInputError
from comfy_home.manifest import MARKER_NAME
from runpod_comfy.cache.roots import Root
from runpod_comfy.lock.model import Lock
from runpod_comfy.lock.store import load_lock

_DAY_S = 24 * 3600
GRACE_S = 7 * _DAY_S
"""How long the cache is kept for a lock or a home whose path is gone: a volume that is not
mounted, a branch that is not checked out."""


@dataclass(frozen=True, kw_only=True)
class RootLocks:
    """`roots` as they are now, those that drop out left out and named in `dropped`; `locks` are
    theirs, `model_folders` the folders whose links keep models, `remarks` is for people."""

    roots: tuple[Root, ...]
    dropped: tuple[Root, ...]
    locks: tuple[Lock, ...]
    model_folders: tuple[Path, ...]
    remarks: tuple[str, ...]


def look_at_roots(roots: Sequence[Root], *, now: int) -> RootLocks:
    """Looks at each root's path; `now` in seconds since 1970.

    A lock that is there is read anew; one that cannot be read counts as it was last recorded.
    Raises InvalidInputError for a recorded lock that this program cannot read.
    """
    kept: list[Root] = []
    dropped: list[Root] = []
    locks: list[Lock] = []
    folders: list[Path] = []
    remarks: list[str] = []
    for root in roots:
        if _is_there(root):
            current = replace(root, gone_since=None)
            if root.kind == "lock":
                current = _read_anew(current, remarks)
        else:
            gone_since = root.gone_since or now
            current = replace(root, gone_since=gone_since)
            left_s = gone_since + GRACE_S - now
            if left_s <= 0:
                dropped.append(current)
                continue
            days = math.ceil(left_s / _DAY_S)
            remarks.append(f"{root.path} is gone; what it needs is kept for {days} more day(s)")
        kept.append(current)
        if current.lock is not None:
            locks.append(_lock_of(current))
        if current.kind == "home":
            folders.append(current.path / "models")
        if current.kind == "models":
            folders.append(current.path)
    return RootLocks(
        roots=tuple(kept),
        dropped=tuple(dropped),
        locks=tuple(locks),
        model_folders=tuple(folders),
        remarks=tuple(remarks),
    )


def _is_there(root: Root) -> bool:
    place = root.path / MARKER_NAME if root.kind == "home" else root.path
    try:
        os.stat(place)  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        # What cannot be looked at is not gone.
        return True
    return True


def _read_anew(root: Root, remarks: list[str]) -> Root:
    try:
        return replace(root, lock=json.loads(load_lock(root.path).to_bytes()))
    except ComfyError as error:
        remarks.append(f"{error.message}; what it needed last is kept")
        return root


def _lock_of(root: Root) -> Lock:
    try:
        return Lock.model_validate_json(json.dumps(root.lock))
    except ValidationError as error:
        raise InvalidInputError(
            f"the lock recorded for {root.path} cannot be read by this program "
            f"({error.errors()[0]['msg']}), so what it needs is not known",
            remedy="Use the program that made it, or resolve or realize that version again.",
        ) from error
