"""Links from the store to a models folder, and from there to a version.

A link is a symlink if possible, relative if it stays within one mount (a volume has different paths
on a pod and on serverless); else a hard link; else a copy.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from pathlib import Path

from comfy_errors import InvalidInputError, MismatchError
from comfy_models.model_file import ModelFile
from comfy_models.store import names_stored
from comfy_models.verify import holds_model

_NO_SYMLINKS = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_NO_HARD_LINKS = {*_NO_SYMLINKS, errno.EXDEV, errno.EMLINK}


def needs_link(root: Path, model: ModelFile, *, replace_links: bool = False) -> bool:
    """Whether the path of `model` below `root` needs a link. Changes nothing.

    An existing file with the right bytes is kept. A link into a store that is gone is replaced, and
    with `replace_links` so is every symlink. Raises MismatchError if another file is there, and
    InvalidInputError if one of the parent folders is a link that leads outside `root`.
    """
    place = root / model.target_path
    if holds_model(place, model):
        return False
    if not place.parent.resolve().is_relative_to(root.resolve()):
        raise InvalidInputError(
            f"{place} would be outside {root}: one of its folders is a link that leads outside",
            remedy="Put a real folder there, or choose another models folder with --models-dir.",
        )
    is_lost = not place.exists() and place.is_symlink() and names_stored(str(place.readlink()))
    is_replaceable = is_lost or (replace_links and place.is_symlink())
    if os.path.lexists(place) and not is_replaceable:
        raise MismatchError(
            f"{place} is not the file that the version needs (sha256 {model.sha256}, "
            f"{model.size} bytes); it was left alone",
            remedy="Move it away, or choose another models folder with --models-dir.",
        )
    return True


def link_model(source: Path, root: Path, model: ModelFile) -> None:
    """Links the path of `model` below `root`, for which `needs_link` was true, to `source`."""
    place = root / model.target_path
    place.parent.mkdir(parents=True, exist_ok=True)
    make_link(source, place)


def make_link(source: Path, place: Path) -> None:
    """Creates a link to the file `source` at `place` atomically, replacing any file there."""
    if not os.path.lexists(place):
        # Atomic by itself. Another command may put its link there first.
        with contextlib.suppress(FileExistsError):
            if _try_link(source, place):
                return
    partial = place.with_name(f".{place.name}.partial")
    partial.unlink(missing_ok=True)
    try:
        if not _try_link(source, partial):
            shutil.copyfile(source, partial)
        partial.replace(place)
    finally:
        partial.unlink(missing_ok=True)


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
        place.hardlink_to(source.resolve())
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        return False
    return True


def _way(source: Path, folder: Path) -> str:
    """The target of a symlink in `folder` that leads to `source`."""
    real_folder = folder.resolve()
    # The last name is not resolved: `source` may itself be a link, and the new link leads to it.
    real_source = source.parent.resolve() / source.name
    if real_source.parent.stat().st_dev == real_folder.stat().st_dev:
        return os.path.relpath(real_source, real_folder)
    return str(real_source)
