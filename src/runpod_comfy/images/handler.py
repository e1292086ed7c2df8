"""The contents of an image's handler: sources of this project, and packages from their lock."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from comfy_files.files import sha256_of
from runpod_comfy.project import PACKAGE_NAMES, PACKAGES

_BUILD_SIDE = "runpod_comfy"
# It decodes pictures and videos, for which an image has no libraries.
_COMPARISON = "comfy_workflows/compare"


def handler_sources(folder: Path = PACKAGES) -> dict[str, Path]:
    """The handler's sources by their path below `folder`, which also has other packages."""
    return {
        source.relative_to(folder).as_posix(): source
        for package in PACKAGE_NAMES
        if package != _BUILD_SIDE
        for source in sorted((folder / package).rglob("*.py"))
        if not source.is_relative_to(folder / _COMPARISON)
    }


def sources_digest(sources: Mapping[str, Path]) -> str:
    """A hash over the names and contents of the sources: 64 hex digits."""
    lines = (f"{name} {sha256_of(path)}\n" for name, path in sorted(sources.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
