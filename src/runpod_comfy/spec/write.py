"""A spec to its file: the guide's layout, written atomically, never over a different one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Literal

from comfy_errors import InvalidInputError
from comfy_files.files import disk_errors, replace_file
from runpod_comfy.spec.model import Spec

# Where a tree stands in a spec: the core, or the index of a custom node.
CORE_PLACE: Literal["core"] = "core"
TreePlace = Literal["core"] | int


def spec_text(spec: Spec) -> str:
    """The spec as JSON, as people write it."""
    return json.dumps(spec.document(), indent=4, ensure_ascii=False) + "\n"


def write_spec(spec: Spec, path: Path, *, force: bool) -> bool:
    """Writes a spec. False if the file says the same already.

    Raises InvalidInputError if something different is there and `force` is not given,
    OperationFailedError if the file cannot be written.
    """
    content = spec_text(spec).encode()
    # A link is written through, so that it stays one.
    path = path.resolve()
    with disk_errors(
        f"{path} could not be written", remedy="Check its folder, or name another file in --output."
    ):
        if path.is_dir():
            raise InvalidInputError(f"{path} is a folder", remedy="Name a file in --output.")
        if path.exists():
            if path.read_bytes() == content:
                return False
            if not force:
                raise InvalidInputError(
                    f"{path} is there already and differs from what was asked for",
                    remedy="Replace it with --force, or name another file in --output.",
                )
        replace_file(path, content)
    return True


def replace_commit(path: Path, place: TreePlace, before: str, after: str) -> None:
    """Puts another commit at one place of a spec file, unless it is there already; every other
    byte of it stays.

    Raises InvalidInputError if `before` does not stand there, OperationFailedError if the file
    cannot be written.
    """
    path = path.resolve()
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
            # The same commit may stand elsewhere too: the right one is the one that says it.
            changed = content[: found.start()] + new + content[found.end() :]
            if json.loads(changed) == wanted:
                replace_file(path, changed)
                return
    raise InvalidInputError(
        f"{path}: the commit {before} could not be replaced",
        remedy=f"Write {after} there yourself.",
    )
