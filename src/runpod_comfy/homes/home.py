"""A home on this machine: its paths, its version, and the request to realize one."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from comfy_errors import InvalidInputError, UnavailableError
from comfy_files.files import Below
from comfy_files.progress import UNSEEN, Progress, Say, say_nothing
from comfy_files.user_paths import home_folder, real
from comfy_home.layout import (
    DATA_FOLDERS,
    LOCK_NAME,
    MARKER_NAME,
    OBJECT_INFO_NAME,
    UNCHANGED_NAME,
    HomeLayout,
    home_arguments,
)
from comfy_home.manifest import ChangedFile, Manifest, load_manifest
from comfy_models.links import ModelFolders
from comfy_models.store import ModelStore
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.roots import recorded_root
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.lock.model import Lock
from runpod_comfy.project import PACKAGES

BEGUN = ""
"""Used instead of a key in the marker: the home may hold a part of this layer."""


class Home(HomeLayout):
    """A home with the files that `realize` keeps in it for itself."""

    venv_staging = Below(".comfy_venv_staging")
    logs = Below(".comfy_logs")
    install_scratch = Below(".comfy_install_scratch")

    @property
    def own_files(self) -> tuple[Path, ...]:
        """The files that `realize` keeps in a home for itself, except the marker."""
        return (
            self.object_info,
            self.check_log,
            self.root / f".{OBJECT_INFO_NAME}.partial",
            self.logs,
            self.root / f".{MARKER_NAME}.partial",
            self.core_files,
            self.root / ".comfy_core_files.partial",
            self.root / ".comfy_core_staging",
            self.root / ".comfy_node_staging",
            self.venv_staging,
            self.install_records,
            self.install_scratch,
            self.root / UNCHANGED_NAME,
            self.root / f".{UNCHANGED_NAME}.partial",
            self.root / LOCK_NAME,
        )


@dataclass(frozen=True, kw_only=True)
class Realization:
    """A lock, its target, and its sources.

    Relative sources are based on `base_dir`, the spec's folder. `models_dir` is the shared models
    folder, None for the home's own. If `wheels_dir` is given, packages only come from there.
    `progress` counts what has arrived. Scripts' output goes to `show` as it arrives, and to their
    logs.
    """

    lock: Lock
    target: Path
    base_dir: Path
    cache: Cache
    models_dir: Path | None = None
    wheels_dir: Path | None = None
    offline: bool = False
    say: Say = say_nothing
    progress: Progress = UNSEEN
    show: BinaryIO | None = None

    @property
    def home(self) -> Home:
        return Home(root=self.target.absolute())

    @property
    def model_folders(self) -> ModelFolders:
        return ModelFolders(
            store=ModelStore(self.cache.models),
            shared=(self.models_dir or self.home.models).absolute(),
            home=self.home.models,
        )

    @property
    def fetch_context(self) -> FetchContext:
        return FetchContext(
            cache=self.cache, base_dir=self.base_dir, offline=self.offline, say=self.say
        )


def refuse_protected(root: Path) -> None:
    """Raises InvalidInputError if `root` is or contains a protected folder."""
    whole = real(root)
    protected = [(PACKAGES, "the folder of this program")]
    with suppress(UnavailableError):
        protected.append((home_folder(), "your home folder"))
    for kept, name in protected:
        if real(kept).is_relative_to(whole):
            raise InvalidInputError(
                f"{root} is or contains {name}; it was left alone",
                remedy="Name a folder that is only for this version.",
            )


def require_folder(root: Path) -> None:
    """Raises InvalidInputError if `root`, or a parent of it, is a file."""
    there = next(path for path in (root, *root.parents) if os.path.lexists(path))
    if not there.is_dir():
        raise InvalidInputError(
            f"{there} is not a folder", remedy="Name a folder that is only for this version."
        )


def manifest_for(job: Realization) -> Manifest | None:
    """The manifest of the home of `job` if it belongs to its version, None if nothing was made
    there yet.

    Raises InvalidInputError if the folder belongs to something else and must be left alone, or if
    its marker is lost or damaged.
    """
    home, version_id = job.home, job.lock.version_id
    require_folder(home.root)
    try:
        manifest = load_manifest(home.root)
    except InvalidInputError as error:
        raise InvalidInputError(error.message, remedy=_without_marker(job)) from error
    elsewhere = "Choose another folder with --target, or remove this one first."
    if manifest is None:
        refuse_protected(home.root)
        for found in (home.comfyui, home.venv):
            if os.path.lexists(found) and not _was_left_by_remove(found):
                raise InvalidInputError(
                    f"{found} already exists without a {MARKER_NAME} file beside it, which says "
                    "what it was made for; it was left alone",
                    remedy=_without_marker(job),
                )
        return None
    if manifest.kind == "init":
        raise InvalidInputError(f"{home.root} was made by init", remedy=elsewhere)
    if manifest.version_id != version_id:
        raise InvalidInputError(
            f"{home.root} holds the version {manifest.version_id}, not {version_id}",
            remedy=elsewhere,
        )
    return manifest


def recorded_lock(home: Home, cache: Cache) -> Lock | None:
    """The lock that was last realized at `home`, without a look at its marker: the cache has
    recorded it, and the files that came with the core are still listed there. Else None: what is
    there may be the user's own.
    """
    if not home.core_files.is_file():
        return None
    with suppress(InvalidInputError, ValidationError):
        root = recorded_root(cache, home.root)
        if root is not None and root.kind == "home":
            return Lock.model_validate_json(json.dumps(root.lock))
    return None


def is_realized_from(lock: Lock | None, job: Realization) -> bool:
    """True if `lock`, a `recorded_lock`, is one of the version of `job`."""
    return lock is not None and lock.version_id == job.lock.version_id


def _without_marker(job: Realization) -> str:
    home, version_id = job.home, job.lock.version_id
    if is_realized_from(recorded_lock(home, job.cache), job):
        named = home_arguments(version_id, home.root, os.environ)
        return f"Make it again: runpod-comfy realize {named} --repair"
    in_the_way = moved_by_hand(home.comfyui, home.venv, home.marker)
    return f"Choose another folder with --target, or {in_the_way}"


def moved_by_hand(*paths: Path) -> str:
    """The advice to move those of `paths` away that exist, for files that may be the user's."""
    there = [str(path) for path in paths if os.path.lexists(path)]
    return (
        "move these away or delete them yourself, because they may hold files of yours: "
        f"{', '.join(there)}"
    )


def start_changes(home: Home) -> list[ChangedFile]:
    """What the engine's start changed in the home when it was checked.

    Raises InvalidInputError if the marker is broken.
    """
    manifest = load_manifest(home.root)
    return manifest.check.changed if manifest and manifest.check else []


def added_by_start(home: Home) -> dict[Path, ChangedFile]:
    """The files that the engine's start added to `ComfyUI/`, by path. Raises InvalidInputError."""
    added = {home.root / file.path: file for file in start_changes(home) if file.change == "added"}
    return {path: file for path, file in added.items() if path.is_relative_to(home.comfyui)}


def nodes_of_start(home: Home) -> set[str]:
    """The names in custom_nodes below which the engine's start added files."""
    return {
        path.relative_to(home.custom_nodes).parts[0]
        for path in added_by_start(home)
        if path.is_relative_to(home.custom_nodes)
    }


def unmanaged_nodes(home: Home, nodes: Collection[str]) -> list[Path]:
    """Entries of custom_nodes, where the core imports them, that are not in `nodes` and did not
    come with the core or from a node's start: the user added them by hand.
    """
    known = {*nodes, *nodes_of_start(home), *home.nodes_of_core()}
    return [path for path in home.importable_nodes() if path.name not in known]


def _was_left_by_remove(folder: Path) -> bool:
    """True if this is what `remove` leaves of a core: only folders with the user's own files."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    names = {path.name for path in folder.iterdir()}
    return bool(names) and names <= {*DATA_FOLDERS, "models", "custom_nodes"}
