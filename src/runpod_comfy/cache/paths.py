"""Where the shared caches lie. Everything under a final name in them is whole and immutable."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from comfy_files.disk import disk_errors


@dataclass(frozen=True, kw_only=True)
class Cache:
    """The folders below `$COMFY_CACHE_ROOT` (default `~/.cache/runpod-comfy`)."""

    root: Path
    models_root: Path | None = None

    @classmethod
    def from_environment(cls) -> Cache:
        root = os.environ.get("COMFY_CACHE_ROOT")
        models = os.environ.get("COMFY_CACHE_MODELS")
        return cls(
            root=Path(root).expanduser().absolute()
            if root
            else Path.home() / ".cache/runpod-comfy",
            models_root=Path(models).expanduser().absolute() if models else None,
        )

    @property
    def git(self) -> Path:
        return self.root / "git"

    @property
    def trees(self) -> Path:
        return self.root / "trees"

    @property
    def archives(self) -> Path:
        return self.root / "archives" / "sha256"

    @property
    def named_archives(self) -> Path:
        return self.root / "archives" / "named"

    @property
    def uv(self) -> Path:
        return self.root / "uv"

    @property
    def models(self) -> Path:
        return self.models_root or self.root / "models"

    @property
    def resolved(self) -> Path:
        return self.root / "resolved"

    @property
    def pushed(self) -> Path:
        """What images were pushed from here, by repository and tag."""
        return self.root / "pushed"

    @property
    def loaded(self) -> Path:
        """`versions/` and `lockfiles/` of the bundles that were loaded here."""
        return self.root / "loaded"

    @property
    def checks(self) -> Path:
        return self.root / "checks"

    @property
    def environments(self) -> Path:
        return self.root / "environments"

    @property
    def compiled(self) -> Path:
        return self.root / "compiled"

    @property
    def handlers(self) -> Path:
        """PEXes of the handler for images, by the digest of what they are made of."""
        return self.root / "handlers"

    @property
    def tools(self) -> Path:
        """Installers for images of another platform than this machine's."""
        return self.root / "tools"

    @property
    def roots(self) -> Path:
        return self.root / "roots"

    @property
    def tmp(self) -> Path:
        return self.root / "tmp"

    def writing(self) -> contextlib.AbstractContextManager[None]:
        """Says what the disk refuses: OperationFailedError instead of OSError."""
        return disk_errors(
            f"the cache {self.root} could not be written",
            remedy="Make room and check its permissions, or name another folder in "
            "COMFY_CACHE_ROOT.",
        )
