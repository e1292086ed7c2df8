"""The user's home folder, paths that start with `~`, and paths without links."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from comfy_errors import UnavailableError


def home_folder() -> Path:
    """The folder in `HOME`, else the system's home folder of this user.

    Raises UnavailableError if there is neither, as in a container with another user id.
    """
    if named := os.environ.get("HOME"):
        return Path(named).absolute()
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError as error:
        raise UnavailableError(
            f"HOME is not set, and the system has no home folder for user {os.getuid()}",
            remedy="Set HOME to a folder that you can write to.",
        ) from error


def expanded(path: str | os.PathLike[str]) -> Path:
    """`path` with a leading `~` replaced by the home folder, `~name` by another user's.

    Raises UnavailableError if there is no such folder.
    """
    first, *rest = Path(path).parts or ("",)
    if first == "~":
        return home_folder().joinpath(*rest)
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UnavailableError(
            f"{path}: there is no user '{first.removeprefix('~')}' here",
            remedy="Write the path in full.",
        ) from error


def real(path: Path) -> Path:
    """The absolute path without links, as far as it exists.

    A link that leads to itself stays, for which `Path.resolve` raises RuntimeError.
    """
    return Path(os.path.realpath(path))
