"""Where the spec and the lock of a loaded version are kept.

The cache has `versions/` and `lockfiles/` of its own, so that a version can be used where no
checkout has it.
"""

from __future__ import annotations

from pathlib import Path

from runpod_comfy.cache.paths import Cache
from runpod_comfy.lock.store import committed_lock_path


def loaded_spec_path(cache: Cache, version_id: str) -> Path:
    """The spec of a version that came in a bundle."""
    return cache.loaded / "versions" / f"{version_id}.json"


def loaded_lock_path(cache: Cache, version_id: str) -> Path:
    """Its lock."""
    return committed_lock_path(loaded_spec_path(cache, version_id), version_id)
