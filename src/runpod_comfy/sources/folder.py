"""A local folder as a tree: its pin is the git tree hash of its content. A Python file is a tree
too, for a node that is a single file.
"""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import replace
from functools import partial
from pathlib import Path

from comfy_errors import InvalidInputError, MismatchError, UnavailableError
from comfy_files.files import disk_errors
from comfy_home.tree_hash import MODULE_FILE, is_left_out, tree_hash
from runpod_comfy.cache.tree import (
    FIRST_TIME_S,
    FetchContext,
    Fill,
    Filling,
    TreeRequest,
)
from runpod_comfy.sources.kinds import TreeSource


class FolderSource(TreeSource):
    """The TreeSource of plain paths; a relative path is based on the spec's folder."""

    def pin(self, request: TreeRequest, fetch_context: FetchContext) -> str:
        folder = _folder(request, fetch_context)
        found = _hash(folder)
        if request.commit not in (None, found):
            raise MismatchError(
                f"the folder {folder} has the content {found}, not {request.commit}",
                remedy="Remove this folder's 'commit' from the spec, or restore the folder.",
            )
        return found

    def bring(self, request: TreeRequest, fetch_context: FetchContext) -> Fill:
        folder = _folder(request, fetch_context)
        found = _hash(folder)
        if found != request.commit:
            raise MismatchError(
                f"the folder {folder} has changed: its content is {found}, but the lock has "
                f"{request.commit}, which is not in the cache",
                remedy="Restore the folder, or use the change: runpod-comfy realize <id> --update",
            )
        return partial(_copy_folder, folder)

    def has_file(self, request: TreeRequest, path: str, fetch_context: FetchContext) -> bool:
        return (folder_of(replace(request, subdir=None), fetch_context) / path).is_file()


def _folder(request: TreeRequest, fetch_context: FetchContext) -> Path:
    folder = folder_of(request, fetch_context)
    if not folder.exists():
        raise UnavailableError(
            f"the folder {request.repo} does not exist (looked for {folder})",
            remedy="Relative paths are based on the spec's folder; correct 'repo'.",
        )
    if not folder.is_dir() and folder.suffix != ".py":
        raise InvalidInputError(
            f"{folder} is a file, not a folder",
            remedy="Name a folder or a Python file, or write an archive as 'file://' and its "
            "absolute path.",
        )
    return folder


def folder_of(request: TreeRequest, fetch_context: FetchContext) -> Path:
    """The path of a request's folder or file, existing or not."""
    # The folder of a spec that is not written yet may not exist, but `new/../core` does.
    return Path(os.path.realpath(fetch_context.base_dir / request.repo / (request.subdir or "")))


def _hash(folder: Path) -> str:
    with disk_errors(f"the folder {folder} cannot be read", remedy="Check its permissions."):
        return tree_hash(folder)


def _copy_folder(source: Path, target: Path) -> Filling:
    if source.is_file():
        _copy_file(source, target / MODULE_FILE)
        return Filling(epoch=FIRST_TIME_S)
    for item in sorted(os.scandir(source), key=lambda entry: entry.name):
        if is_left_out(item.name):
            continue
        place = target / item.name
        if item.is_symlink():
            place.symlink_to(os.readlink(item.path))  # noqa: PTH115
        elif item.is_dir():
            place.mkdir(mode=0o755)
            _copy_folder(Path(item.path), place)
        else:
            _copy_file(Path(item.path), place)
    return Filling(epoch=FIRST_TIME_S)


def _copy_file(source: Path, place: Path) -> None:
    executable = source.stat().st_mode & stat.S_IXUSR
    shutil.copyfile(source, place)
    place.chmod(0o755 if executable else 0o644)
