"""Removes a version from this machine, and nothing else: the user's own files are kept."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from comfy_errors import InvalidInputError
from comfy_files.files import PERMISSIONS, children, disk_errors
from comfy_files.progress import Say, say_nothing
from comfy_files.read_only import remove_tree
from comfy_files.user_paths import real
from comfy_home.in_use import home_alone, refuse_home_in_use
from comfy_home.layout import DATA_FOLDERS, LOCK_NAME, MARKER_NAME
from comfy_home.manifest import load_manifest
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.roots import forget_root
from runpod_comfy.homes.home import (
    Home,
    added_by_start,
    recorded_lock,
    refuse_protected,
    require_folder,
)
from runpod_comfy.homes.install_scripts import added_files
from runpod_comfy.layers.plan import NODE_PREFIX


@dataclass(frozen=True, kw_only=True)
class RemovedEntry:
    """A path to delete. `size_bytes` counts its files, `freed_bytes` only files without a hard link
    in a cache; symbolic links are not counted or followed.
    """

    path: Path
    size_bytes: int
    freed_bytes: int


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What `remove` would delete from `target`, in order, the marker last. `unmanaged_nodes` are in
    the core's `custom_nodes`, were not made by this program, and are kept.
    """

    target: Path
    entries: tuple[RemovedEntry, ...]
    unmanaged_nodes: tuple[Path, ...]
    removes_root: bool

    @property
    def freed_bytes(self) -> int:
        return sum(entry.freed_bytes for entry in self.entries)


def plan_removal(
    target: Path,
    *,
    remove_models: bool = False,
    remove_root: bool = False,
    cache: Cache | None = None,
) -> Removal:
    """Plans the removal of `target` and deletes nothing.

    If the marker is lost or damaged, `cache` may know which nodes were made there. With
    `remove_root` the folder itself is removed too, if none of the user's files is left in it.
    Raises InvalidInputError if `target` has no sign of being made by this program, or if it is a
    link or a protected folder.
    """
    home = Home(root=target.absolute())
    _refuse_dangerous(home.root)
    require_folder(home.root)
    if not home.root.exists():
        raise InvalidInputError(
            f"there is no folder {home.root}; nothing was removed",
            remedy="Name the folder of a version with --target.",
        )
    marked = home.marker.is_file() and not home.marker.is_symlink()
    if not marked and (home.comfyui.is_symlink() or not home.comfyui.is_dir()):
        raise InvalidInputError(
            f"{home.root} has neither a {MARKER_NAME} file nor a ComfyUI folder; nothing was "
            "removed",
            remedy="Name the folder of a version with --target.",
        )
    brought = _brought_along(home)
    unmanaged = _unmanaged_nodes(home, brought, cache)
    core = _core_paths(home, brought, unmanaged, remove_models=remove_models)
    paths = [*core, home.venv, *home.own_files]
    if remove_models:
        paths.append(home.models)
    paths.append(home.marker)
    return Removal(
        target=home.root,
        entries=tuple(_measure(path) for path in paths if os.path.lexists(path)),
        unmanaged_nodes=unmanaged,
        removes_root=remove_root,
    )


def remove(
    removal: Removal, say: Say = say_nothing, *, cache: Cache | None = None
) -> tuple[Path, ...]:
    """Deletes what was planned; returns what is left in the target, empty if the target is gone.

    After that the home no longer needs entries of `cache`. A models folder that is kept still needs
    its models. If killed, it can be run again: the marker is removed last. Waits for a command that
    is changing the home; raises OperationFailedError if an engine uses it.
    """
    home = Home(root=removal.target)
    refuse_removal(home.root)
    with (
        disk_errors("not everything could be removed", remedy=PERMISSIONS),
        home_alone(home.root, say),
    ):
        for entry in removal.entries:
            _delete(entry.path)
        # The lock file was created by taking the lock.
        (home.root / LOCK_NAME).unlink(missing_ok=True)
        if removal.removes_root:
            _remove_if_empty(home)
    if cache is not None:
        forget_root(cache, home.root)
        if not home.models.exists():
            forget_root(cache, home.models)
    return tuple(children(home.root))


def refuse_removal(target: Path) -> None:
    """Raises OperationFailedError if an engine uses the home `target`."""
    refuse_home_in_use(target, otherwise="nothing was removed")


def _core_paths(
    home: Home, brought: set[str], unmanaged: tuple[Path, ...], *, remove_models: bool
) -> list[Path]:
    """`ComfyUI/`, or everything in it except the user's own files: nodes they added, and the
    pictures, settings and models of a ComfyUI that was started by hand, not by this program.
    """
    names = DATA_FOLDERS if remove_models else (*DATA_FOLDERS, "models")
    kept = {home.comfyui / name for name in names if _holds_user_files(home, name, brought)}
    if not kept and not unmanaged:
        return [home.comfyui]
    paths = set(home.comfyui.iterdir()) - kept
    if unmanaged:
        paths.remove(home.custom_nodes)
        paths |= set(home.custom_nodes.iterdir()) - set(unmanaged)
    return sorted(paths)


def _unmanaged_nodes(home: Home, brought: set[str], cache: Cache | None) -> tuple[Path, ...]:
    if home.comfyui.is_symlink() or home.custom_nodes.is_symlink():
        return ()
    made = {name.split("/")[1] for name in brought if name.startswith("custom_nodes/")}
    manifest = None
    with contextlib.suppress(InvalidInputError):
        manifest = load_manifest(home.root)
    if manifest is not None:
        layers = manifest.layers
        made |= {name.removeprefix(NODE_PREFIX) for name in layers if name.startswith(NODE_PREFIX)}
    elif cache is not None and (lock := recorded_lock(home, cache)) is not None:
        made |= {node.name for node in lock.custom_nodes}
    there = children(home.custom_nodes)
    return tuple(path for path in there if path.name not in {*made, "__pycache__"})


def _holds_user_files(home: Home, name: str, brought: set[str]) -> bool:
    folder = home.comfyui / name
    if folder.is_symlink() or not folder.is_dir():
        return False
    # The core's placeholder files in empty folders are empty themselves.
    return any(
        path.relative_to(home.comfyui).as_posix() not in brought
        for path in folder.rglob("*")
        if path.is_symlink() or (path.is_file() and path.stat().st_size > 0)
    )


def _brought_along(home: Home) -> set[str]:
    """The files that came with the core (according to `realize` or git) or with install scripts,
    relative to the core.
    """
    brought = set(map(str, home.files_of_core()))
    if not brought and (home.comfyui / ".git").is_dir():
        listed = subprocess.run(
            ["git", "-C", str(home.comfyui), "ls-files", "-z"], capture_output=True, check=False
        )
        brought = set(map(os.fsdecode, listed.stdout.split(b"\0")))
    # If the records cannot be read, it is better to leave a file too many.
    with contextlib.suppress(InvalidInputError):
        added = [*added_files(home), *added_by_start(home)]
        brought |= {str(path.relative_to(home.comfyui)) for path in added}
    return brought


def _refuse_dangerous(root: Path) -> None:
    if root.is_symlink():
        raise InvalidInputError(
            f"{root} is a link to {real(root)}; nothing was removed",
            remedy=f"To remove that folder: --target {real(root)}",
        )
    refuse_protected(root)


def _measure(path: Path) -> RemovedEntry:
    files = [str(path)] if path.is_file() else []
    if not path.is_symlink():
        files += [f"{parent}/{name}" for parent, _, names in os.walk(path) for name in names]
    found = [status for file in files if stat.S_ISREG((status := os.lstat(file)).st_mode)]
    return RemovedEntry(
        path=path,
        size_bytes=sum(status.st_size for status in found),
        freed_bytes=sum(status.st_size for status in found if status.st_nlink == 1),
    )


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        path.unlink(missing_ok=True)


def _remove_if_empty(home: Home) -> None:
    """The target, if only empty folders made by `realize` are left in it."""
    for folder in (home.models, *(home.root / name for name in DATA_FOLDERS)):
        if folder.is_symlink():
            continue
        for parent, _folders, _files in os.walk(folder, topdown=False):
            with contextlib.suppress(OSError):
                Path(parent).rmdir()
    with contextlib.suppress(OSError):
        home.root.rmdir()
