"""A spec to its file: the guide's layout, written at one stroke, never over a different one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from comfy_errors import InvalidInputError
from comfy_files.atomic import replace_file
from comfy_files.disk import disk_errors
from runpod_comfy.spec.model import Spec

# Where a tree stands in a spec: the core, or the index of a custom node.
CORE_PLACE: Literal["core"] = "core"
TreePlace = Literal["core"] | int

_TREE_KEYS = ("repo", "ref", "commit", "subdir")
_MODEL_KEYS = (
    "name",
    "source",
    "target_subdir",
    "target_path",
    "checksum",
    "mirrors",
    "size",
)


def spec_text(spec: Spec) -> str:
    """The spec as JSON, in the order of the user's guide; what is not set is left out."""
    document = {
        "schema_version": spec.schema_version,
        "version_id": spec.version_id,
        "comfy": _set_fields(spec.comfy, *_TREE_KEYS),
        "custom_nodes": [_set_fields(node, "name", *_TREE_KEYS) for node in spec.custom_nodes],
        "models": [_set_fields(model, *_MODEL_KEYS) for model in spec.models],
        "env": spec.env,
        "options": spec.options.model_dump(mode="json", exclude_defaults=True),
    }
    return json.dumps(document, indent=4, ensure_ascii=False) + "\n"


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
        _replace_commit(path, place, before, after)


def _replace_commit(path: Path, place: TreePlace, before: str, after: str) -> None:
    content = path.read_bytes()
    wanted = json.loads(content)
    tree = wanted["comfy"] if place == CORE_PLACE else wanted["custom_nodes"][place]
    if tree.get("commit") == after:
        # Another command was first.
        return
    tree["commit"] = after
    old, new = (json.dumps(commit).encode() for commit in (before, after))
    start = content.find(old)
    while start >= 0:
        # The same commit may stand elsewhere too: the right one is the one that says it.
        changed = content[:start] + new + content[start + len(old) :]
        if json.loads(changed) == wanted:
            replace_file(path, changed)
            return
        start = content.find(old, start + 1)
    raise InvalidInputError(
        f"{path}: the commit {before} could not be replaced",
        remedy=f"Write {after} there yourself.",
    )


def _set_fields(model: BaseModel, *names: str) -> dict[str, Any]:
    fields = {name: getattr(model, name) for name in names}
    return {name: value for name, value in fields.items() if value not in (None, [])}
