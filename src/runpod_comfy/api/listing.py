"""The versions of a project and of loaded bundles, with their locks, homes and images on this
machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from comfy_errors import ComfyError, InvalidInputError
from comfy_files.progress import Say, say_nothing
from comfy_home.layout import find_home
from comfy_home.manifest import load_manifest
from runpod_comfy.api.workspace import spec_files
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.roots import Root, read_roots
from runpod_comfy.images.docker.connection import connect
from runpod_comfy.images.show import ListedImage, list_images
from runpod_comfy.lock.model import Lock
from runpod_comfy.lock.store import matching_lock, previous_lock
from runpod_comfy.spec.load import load_spec

# An engine on this machine answers in milliseconds.
_WAIT_S = 2


@dataclass(frozen=True, kw_only=True)
class ListedHome:
    """A home of a version. `ready` means that it was made from the version's current lock, and
    `unknown` that there is no lock to compare it with, or none that can be read.
    """

    path: Path
    state: Literal["ready", "outdated", "unknown", "unfinished", "unreadable"]


@dataclass(frozen=True, kw_only=True)
class ListedVersion:
    """A version by its spec. `lock` is `fresh` if it matches the spec, and `unknown` if one of the
    two cannot be read: then `error` says why. `images` is None if no engine answers.
    """

    version_id: str
    spec: Path
    is_bundled: bool
    lock: Literal["fresh", "outdated", "none", "unknown"]
    lock_path: Path | None
    lock_digest: str | None
    homes: list[ListedHome]
    images: list[ListedImage] | None
    error: str | None

    def state_of(self, image: ListedImage) -> Literal["ready", "outdated", "unknown"]:
        """The state of one of the `images`, as that of a home."""
        if self.lock in ("none", "unknown"):
            return "unknown"
        return "ready" if image.lock_digest == self.lock_digest else "outdated"


def list_versions(project: Path, *, explain: Say = say_nothing) -> list[ListedVersion]:
    """Every version, by id. `explain` receives why no images are listed, if none are.

    Raises InvalidInputError for a record of the cache that cannot be read.
    """
    cache = Cache.from_environment()
    roots, images = read_roots(cache), _images(explain)
    return [
        _listed(version_id, path, cache, roots, images)
        for version_id, path in spec_files(project, cache).items()
    ]


def _listed(
    version_id: str, spec: Path, cache: Cache, roots: list[Root], images: list[ListedImage] | None
) -> ListedVersion:
    found: tuple[Lock, Path] | None = None
    previous: Lock | None = None
    error = None
    try:
        loaded = load_spec(spec)
        found = matching_lock(loaded, cache)
        previous = found[0] if found else previous_lock(loaded, cache)
    except ComfyError as fault:
        error = fault.message
    lock = found[0] if found else None
    return ListedVersion(
        version_id=version_id,
        spec=spec,
        is_bundled=spec.is_relative_to(cache.loaded),
        lock="unknown" if error else "fresh" if found else "outdated" if previous else "none",
        lock_path=found[1] if found else None,
        lock_digest=lock.digest if lock else None,
        homes=list(_homes(version_id, lock, roots, is_known=previous is not None)),
        images=None
        if images is None
        else [image for image in images if image.version_id == version_id],
        error=error,
    )


def _homes(
    version_id: str, lock: Lock | None, roots: list[Root], *, is_known: bool
) -> Iterator[ListedHome]:
    """The homes recorded in the cache, and one at the default path that uses another cache.

    `lock` is the one that matches the spec, and `is_known` false if no lock could be read at all.
    """
    places = {find_home(version_id, None, os.environ)}
    places |= {
        root.path
        for root in roots
        if root.kind == "home" and root.lock and root.lock.get("version_id") == version_id
    }
    for place in sorted(places):
        try:
            manifest = load_manifest(place)
        except InvalidInputError:
            yield ListedHome(path=place, state="unreadable")
            continue
        if manifest is None or manifest.version_id != version_id:
            continue
        if not manifest.complete:
            yield ListedHome(path=place, state="unfinished")
        elif not is_known:
            yield ListedHome(path=place, state="unknown")
        elif lock is None or not lock.is_named_by(manifest.lock_digest):
            yield ListedHome(path=place, state="outdated")
        else:
            yield ListedHome(path=place, state="ready")


def _images(explain: Say) -> list[ListedImage] | None:
    try:
        return list_images(connect(wait_s=_WAIT_S))
    except ComfyError as error:
        explain(f"No images are listed: {error.message}")
        return None
