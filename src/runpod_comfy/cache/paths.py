"""The paths of the shared caches. Everything under a final name in them is whole and immutable."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from comfy_files.files import Below, disk_errors
from comfy_files.read_only import remove_tree
from comfy_files.user_paths import expanded

MORE_ROOM = "Free some space, or set COMFY_CACHE_ROOT to another folder."
"""The next step where the disk of the cache has no room."""


@dataclass(frozen=True, kw_only=True)
class Cache:
    """The folders below `$COMFY_CACHE_ROOT` (default `~/.cache/runpod-comfy`)."""

    root: Path
    models_root: Path | None = None

    git = Below("git")
    trees = Below("trees")
    archives = Below("archives/sha256")
    named_archives = Below("archives/named")
    uv = Below("uv")
    resolved = Below("resolved")
    # The images that were pushed from here, by repository and tag.
    pushed = Below("pushed")
    # `versions/` and `lockfiles/` of bundles that were loaded here, usable without a checkout.
    loaded = Below("loaded")
    checks = Below("checks")
    environments = Below("environments")
    compiled = Below("compiled")
    # Installers for images of another platform than this machine's, and what the package indexes
    # offer for images, in `offered-*.json`.
    tools = Below("tools")
    # The whole output of steps of images that failed, by version and step.
    logs = Below("logs")
    roots = Below("roots")
    # Which models requests of `verify-models` were about.
    asked = Below("asked")
    tmp = Below("tmp")

    @classmethod
    def from_environment(cls) -> Cache:
        """The configured cache. Raises UnavailableError if the default has no home folder."""
        root = os.environ.get("COMFY_CACHE_ROOT")
        models = os.environ.get("COMFY_CACHE_MODELS")
        return cls(
            root=expanded(root or "~/.cache/runpod-comfy").absolute(),
            models_root=expanded(models).absolute() if models else None,
        )

    @property
    def models(self) -> Path:
        return self.models_root or self.root / "models"

    def loaded_spec(self, version_id: str) -> Path:
        """The spec of a version that came in a bundle."""
        return self.loaded / "versions" / f"{version_id}.json"

    def writing(self) -> contextlib.AbstractContextManager[None]:
        """Turns an OSError of the block into an OperationFailedError."""
        return disk_errors(
            f"the cache {self.root} could not be written",
            remedy="Free some space and check its permissions, or set COMFY_CACHE_ROOT to a "
            "folder that you can write to.",
        )

    @contextlib.contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A new folder below `tmp`, where an entry is made before it is renamed into its place.

        Raises as `writing` does.
        """
        with self.writing():
            self.tmp.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(dir=self.tmp, prefix=f"{name}-"))
            try:
                yield folder
            finally:
                remove_tree(folder, ignore_errors=True)


def children(folder: Path) -> list[Path]:
    """The entries of a folder, sorted; none if the folder does not exist."""
    return sorted(folder.iterdir()) if folder.is_dir() else []
