"""Finds folders of a version that were edited after they were locked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from comfy_errors import ComfyError
from comfy_home.tree_hash import tree_hash
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.lock.model import Lock, LockedTree
from runpod_comfy.sources.folder import folder_of


@dataclass(frozen=True, kw_only=True)
class LockedFolder:
    """A folder, or file, in a version's lock. `name` is that of its node, or `core`."""

    name: str
    tree: LockedTree
    path: Path

    @property
    def is_gone(self) -> bool:
        return not self.path.exists()

    def is_changed(self) -> bool:
        """True if its content has changed; reads the whole folder."""
        try:
            return self.is_gone or tree_hash(self.path) != self.tree.commit
        except (OSError, ComfyError):
            # A folder that cannot be hashed has changed.
            return True

    def warning(self, update: str) -> str:
        """The warning that its locked version is used although it has changed; `update` is the
        command that accepts the change.
        """
        if self.is_gone:
            what, remedy = "is gone", "Put it back, or correct 'repo' in the spec."
        else:
            what, remedy = "was changed since it was locked", f"To use the change: {update}"
        return f"Warning: {self.name}: {self.path} {what}; its locked version is used. {remedy}"


def locked_folders(lock: Lock, fetch_context: FetchContext) -> list[LockedFolder]:
    """The folders of a lock; `fetch_context` has the folder that their paths are based on.

    None for a version that came in a bundle, without its original folders.
    """
    if fetch_context.base_dir.is_relative_to(fetch_context.cache.loaded):
        return []
    names = ["core", *(node.name for node in lock.custom_nodes)]
    return [
        LockedFolder(name=name, tree=tree, path=folder_of(tree.request, fetch_context))
        for name, tree in zip(names, lock.trees, strict=True)
        if tree.kind == "folder"
    ]
