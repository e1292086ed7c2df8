"""Checks paths below a folder that come from outside, such as from a spec, a lock or a manifest.

The messages of ValueError are ends of sentences that start with the key: "must not end in a slash".
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

LONGEST_NAME = 255
"""The longest file name on Linux and macOS, in bytes."""
# Well below the 4,096 bytes of Linux, as folders may come before it; macOS has 1,024.
_LONGEST_PATH = 1000


def check_inner_path(value: str) -> str:
    """A relative POSIX path that stays inside the folder it is joined to."""
    path = PurePosixPath(value)
    if not value or "\\" in value or has_control_characters(value):
        raise ValueError("must be a relative path with forward slashes")
    if path.is_absolute() or re.match(r"^[A-Za-z]:", value):
        raise ValueError("must be a relative path, not an absolute one")
    if ".." in path.parts or not path.parts:
        raise ValueError("must be a path without '..'")
    check_path_length(value)
    return path.as_posix()


def check_inner_file(value: str) -> str:
    """As `check_inner_path`, for the path of a file."""
    if value.endswith("/"):
        raise ValueError("must not end in a slash")
    return check_inner_path(value)


def check_path_length(path: str) -> None:
    """Checks that a system may have a path like this: it fails to look for any other."""
    if any(len(part.encode()) > LONGEST_NAME for part in path.split("/")):
        raise ValueError(f"must not contain a name that is longer than {LONGEST_NAME} bytes")
    if len(path.encode()) > _LONGEST_PATH:
        raise ValueError(f"must not be longer than {_LONGEST_PATH} bytes")


def has_control_characters(value: str) -> bool:
    return any(ord(character) < 32 or ord(character) == 127 for character in value)
