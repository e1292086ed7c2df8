"""The user's home folder, and paths that start with `~`."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

from comfy_errors import UnavailableError


def home_folder() -> Path:
    """What `HOME` names, else what the system knows of this user.

    Raises UnavailableError where neither says anything, as in a container with another user id.
    """
    if named := os.environ.get("HOME"):
        return Path(named).absolute()
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError as error:
        raise UnavailableError(
            f"HOME is not set, and the system knows no home folder of the user {os.getuid()}",
            remedy="Set HOME to a folder that you can write to.",
        ) from error


def expanded(path: str | os.PathLike[str]) -> Path:
    """`path` with the home folder in place of a `~` at its start, `~name` for another user's.

    Raises UnavailableError where there is no such folder.
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
