"""Writes a spec to its file: in the guide's layout, atomically, never over a different spec."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Literal

from comfy_errors import InvalidInputError
from comfy_files.files import disk_errors, replace_file
from comfy_files.user_paths import real
from runpod_comfy.spec.model import Spec

# A tree's position in a spec: the core, or the index of a custom node.
CORE_PLACE: Literal["core"] = "core"
TreePlace = Literal["core"] | int


def spec_text(spec: Spec) -> str:
    """The spec as JSON, in the layout of handwritten specs."""
    return json.dumps(spec.document(), indent=4, ensure_ascii=False) + "\n"


def replace_spec(path: Path, content: bytes) -> None:
    """Replaces a spec file atomically, and keeps its permissions. Raises OSError."""
    replace_file(path, content, mode=path.stat().st_mode & 0o777)


def write_spec(spec: Spec, path: Path, *, force: bool) -> bool:
    """Writes a spec. Returns False if the file already has this content.

    Raises InvalidInputError if a different file exists and `force` is not given,
    OperationFailedError if the file cannot be written.
    """
    content = spec_text(spec).encode()
    # A link is kept, and its target is written.
    path = real(path)
    with disk_errors(
        f"{path} could not be written",
        remedy="Check its folder, or name another file with --output.",
    ):
        if path.is_dir():
            raise InvalidInputError(f"{path} is a folder", remedy="Name a file with --output.")
        if path.exists():
            if path.read_bytes() == content:
                return False
            if not force:
                raise InvalidInputError(
                    f"{path} already exists and differs from the requested spec",
                    remedy="Replace it with --force, or name another file with --output.",
                )
            replace_spec(path, content)
        else:
            replace_file(path, content)
    return True


def replace_commit(path: Path, place: TreePlace, before: str, after: str) -> None:
    """Replaces a commit at one position of a spec file, unless it is already there; every other
    byte is kept.

    Raises InvalidInputError if `before` is not there, OperationFailedError if the file cannot be
    written.
    """
    path = real(path)
    with disk_errors(
        f"{path} could not be written", remedy="Check its permissions, and those of its folder."
    ):
        content = path.read_bytes()
        wanted = json.loads(content)
        tree = wanted["comfy"] if place == CORE_PLACE else wanted["custom_nodes"][place]
        if tree.get("commit") == after:
            # Another command was first.
            return
        tree["commit"] = after
        old, new = (json.dumps(commit).encode() for commit in (before, after))
        for found in re.finditer(re.escape(old), content):
            # The commit may occur elsewhere too: the right occurrence is the one that changes this
            # position.
            changed = content[: found.start()] + new + content[found.end() :]
            if json.loads(changed) == wanted:
                replace_spec(path, changed)
                return
    raise InvalidInputError(
        f"{path}: the commit {before} could not be replaced",
        remedy=f"Edit it by hand: the new commit is {after}.",
    )
