"""Links from the store to a models folder, and from there to a version.

A link is a symlink where possible, relative if it stays within one mount (a volume has one name on
a pod and another on serverless); else a hard link; else a copy.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from comfy_errors import InvalidInputError, MismatchError
from comfy_files.hashing import sha256_of
from comfy_models.store import names_stored, stored_sha256

_NO_SYMLINKS = {errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
_NO_HARD_LINKS = {*_NO_SYMLINKS, errno.EXDEV, errno.EMLINK}


def holds_model(path: Path, *, sha256: str, size_bytes: int) -> bool:
    """Whether `path`, or what it links to, is a file with these bytes. Reads them unless the
    size is already wrong or the path leads into a store, where the name vouches for the bytes."""
    try:
        if not path.is_file() or path.stat().st_size != size_bytes:
            return False
    except OSError:
        return False
    return (stored_sha256(path) or sha256_of(path)) == sha256


def link_model(
    source: Path,
    root: Path,
    target_path: str,
    *,
    sha256: str,
    size_bytes: int,
    replace_links: bool = False,
) -> bool:
    """Makes `root/target_path` lead to `source`; says whether anything had to be done.

    A file that is already there with the right bytes is used as it is. A link into a store that
    is no longer there is replaced, and with `replace_links` every symlink.
    Raises MismatchError, changing nothing, if something else is there, and InvalidInputError if
    a link among the folders of `target_path` leads out of `root`.
    """
    place = root / target_path
    if holds_model(place, sha256=sha256, size_bytes=size_bytes):
        return False
    _refuse_way_out(root, place)
    replaceable = place.is_symlink() and (replace_links or _leads_to_lost_store(place))
    if os.path.lexists(place) and not replaceable:
        raise MismatchError(
            f"{place} is not the file that the version needs (sha256 {sha256}, "
            f"{size_bytes} bytes); it was left alone",
            remedy="Move it away, or choose another models folder with --models-dir.",
        )
    place.parent.mkdir(parents=True, exist_ok=True)
    make_link(source, place)
    return True


def make_link(source: Path, place: Path) -> None:
    """Puts a link to the file `source` at `place` at one stroke, replacing what was there."""
    partial = place.with_name(f".{place.name}.{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    try:
        _link(source, partial)
        partial.replace(place)
    finally:
        partial.unlink(missing_ok=True)


def _link(source: Path, place: Path) -> None:
    try:
        place.symlink_to(_way(source, place.parent))
        return
    except OSError as error:
        if error.errno not in _NO_SYMLINKS:
            raise
    real = source.resolve()
    try:
        place.hardlink_to(real)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        shutil.copyfile(real, place)


def _way(source: Path, folder: Path) -> str:
    """What a symlink in `folder` says to lead to `source`."""
    real_folder = folder.resolve()
    # The last name is not resolved: it may itself be the link that this one is to lead to.
    real_source = source.parent.resolve() / source.name
    if real_source.parent.stat().st_dev == real_folder.stat().st_dev:
        return os.path.relpath(real_source, real_folder)
    return str(real_source)


def _refuse_way_out(root: Path, place: Path) -> None:
    real_root = root.resolve()
    if not place.parent.resolve().is_relative_to(real_root):
        raise InvalidInputError(
            f"{place} would lie outside {root}: one of its folders is a link that leads out",
            remedy="Put a real folder there, or choose another models folder with --models-dir.",
        )


def _leads_to_lost_store(link: Path) -> bool:
    return not link.exists() and names_stored(str(link.readlink())) is not None
