"""Links from the store to a models folder, and from there to a version.

A link is a symlink if possible, relative if it stays within one mount (a volume has different paths
on a pod and on serverless); else a hard link; else a copy.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import shutil
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from comfy_errors import InvalidInputError, MismatchError
from comfy_files.user_paths import real
from comfy_models.store import ModelStore, names_stored
from comfy_models.verify import HashMemory, fault_of

if TYPE_CHECKING:
    from comfy_models.model_file import ModelFile

_NO_SYMLINKS = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_NO_HARD_LINKS = {*_NO_SYMLINKS, errno.EXDEV, errno.EMLINK}
# A partial file that has not changed for this long belongs to a killed process.
_LEFT_S = 3600.0


class InTheWayError(MismatchError):
    """Something else is at the path of a model; `step` says in short what to do about it."""

    def __init__(self, message: str, *, remedy: str, step: str) -> None:
        super().__init__(message, remedy=remedy)
        self.step = step


@dataclass(frozen=True, kw_only=True)
class ModelFolders:
    """Where models are: the store, the models folder `shared` that links lead from to it, and the
    models folder `home` of the version that uses them, with links to `shared`. None without one.
    """

    store: ModelStore
    shared: Path
    home: Path | None = None

    @property
    def one_step(self) -> bool:
        """True if the shared folder is the version's own."""
        return self.home is not None and real(self.shared) == real(self.home)


@dataclass(frozen=True, kw_only=True)
class ModelLink:
    """A link to make: `model` in the folder `root` leads to `source`."""

    model: ModelFile
    root: Path
    source: Path

    def make(self) -> None:
        place = self.root / self.model.target_path
        place.parent.mkdir(parents=True, exist_ok=True)
        make_link(self.source, place)


def missing_links(
    model: ModelFile, folders: ModelFolders, memory: HashMemory, *, overwrite: bool = False
) -> list[ModelLink]:
    """The missing links of store → shared folder → version. Changes nothing.

    Raises as `needs_link` does.
    """
    links = []
    # In a version's own folder every link is its own; elsewhere another version may need it.
    own = folders.one_step
    if needs_link(folders.shared, model, memory, replace_links=own, overwrite=overwrite):
        stored = folders.store.path_of(model.sha256)
        links.append(ModelLink(model=model, root=folders.shared, source=stored))
    home = None if own else folders.home
    if home and needs_link(home, model, memory, replace_links=True, overwrite=overwrite):
        source = folders.shared / model.target_path
        links.append(ModelLink(model=model, root=home, source=source))
    return links


def needs_link(
    root: Path,
    model: ModelFile,
    memory: HashMemory,
    *,
    replace_links: bool = False,
    overwrite: bool = False,
    overwriting: str = "runpod-comfy verify-models --overwrite",
) -> bool:
    """Whether the path of `model` below `root` needs a link. Changes nothing.

    An existing file with the right bytes is kept. A link to the model in any store is replaced if
    the bytes are wrong or gone, and a link to another one if that is gone; with `replace_links`
    every symlink, with `overwrite` every file, as the command `overwriting` does. Raises
    InTheWayError if another file is there, and InvalidInputError if one of the parent folders is a
    link that leads outside `root`.
    """
    place = root / model.target_path
    fault = fault_of(place, model, memory)
    if fault is None:
        return False
    if not real(place.parent).is_relative_to(real(root)):
        raise InvalidInputError(
            f"{place} would be outside {root}: one of its folders is a link that leads outside",
            remedy="Put a real folder there, or choose another models folder with --models-dir.",
        )
    parent = next(each for each in place.absolute().parents if os.path.lexists(each))
    if not parent.is_dir():
        raise InTheWayError(
            f"{parent} is not a folder, but the version needs {place}, which {fault}",
            remedy="Move it away, or choose another models folder with --models-dir.",
            step="move it away",
        )
    if not os.path.lexists(place) or (overwrite and not place.is_dir()):
        return True
    if place.is_symlink() and (replace_links or _is_worthless(place, model)):
        return True
    raise InTheWayError(
        f"{place} is not the file that the version needs: it {fault}; it was left alone",
        remedy="Move it away, choose another models folder with --models-dir, or replace it with: "
        f"{overwriting}",
        step="move it away" + ("" if place.is_dir() else ", or replace it with --overwrite"),
    )


def _is_worthless(link: Path, model: ModelFile) -> bool:
    """True if a link into a store leads to nothing that any version could use."""
    stored = names_stored(str(link.readlink()))
    return stored == model.sha256 or (stored is not None and not link.exists())


def make_link(source: Path, place: Path) -> None:
    """Creates a link to the file `source` at `place` atomically, replacing any file there."""
    if not os.path.lexists(place):
        # Atomic by itself. Another command may put its link there first.
        with contextlib.suppress(FileExistsError):
            if _try_link(source, place):
                return
    _remove_left(place)
    # Its name is random: machines that share a volume may not see each other's locks.
    partial = place.with_name(f".{place.name}.{uuid.uuid4().hex}.partial")
    try:
        if not _try_link(source, partial):
            shutil.copyfile(source, partial)
        partial.replace(place)
    finally:
        partial.unlink(missing_ok=True)


def _remove_left(place: Path) -> None:
    """Removes what killed processes left beside `place`."""
    for left in place.parent.glob(f".{glob.escape(place.name)}.*.partial"):
        with contextlib.suppress(OSError):
            if time.time() - left.lstat().st_mtime > _LEFT_S:
                left.unlink()


def _try_link(source: Path, place: Path) -> bool:
    """Creates a symbolic or hard link at `place`; False where there are none."""
    try:
        place.symlink_to(_way(source, place.parent))
    except OSError as error:
        if error.errno not in _NO_SYMLINKS:
            raise
    else:
        return True
    try:
        place.hardlink_to(real(source))
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        return False
    return True


def _way(source: Path, folder: Path) -> str:
    """The target of a symlink in `folder` that leads to `source`."""
    real_folder = real(folder)
    # The last name is not resolved: `source` may itself be a link, and the new link leads to it.
    real_source = real(source.parent) / source.name
    if real_source.parent.stat().st_dev == real_folder.stat().st_dev:
        return os.path.relpath(real_source, real_folder)
    return str(real_source)
