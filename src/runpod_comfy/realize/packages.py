"""Which files of Python distributions this machine would take, and which it already has."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runpod_comfy.lock.model import Distribution, DistributionFile


@dataclass(frozen=True, kw_only=True)
class NeededFile:
    """A file that this machine takes for a distribution. `size_bytes` is None where the lock does
    not know it; `cached` says whether uv's cache holds it unpacked."""

    distribution: str
    file: DistributionFile
    cached: bool

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def size_bytes(self) -> int | None:
        return self.file.size


def needed_files(
    distributions: Sequence[Distribution], *, python: str, uv_cache: Path
) -> list[NeededFile]:
    """The file of each distribution whose marker holds here, under Python `python` (`3.11`)."""
    from packaging.markers import Marker

    ranks = _tag_ranks(python)
    here = {"python_version": python, "python_full_version": f"{python}.0"}
    cached = _cached_wheels(uv_cache)
    return [
        NeededFile(
            distribution=f"{distribution.name} {distribution.version}",
            file=file,
            cached=file.name.removesuffix(".whl").lower() in cached,
        )
        for distribution in distributions
        if distribution.marker is None or Marker(distribution.marker).evaluate(here)
        if (file := _best_file(distribution.files, ranks)) is not None
    ]


def _tag_ranks(python: str) -> dict[str, int]:
    from packaging.tags import compatible_tags, cpython_tags, platform_tags

    version = tuple(int(part) for part in python.split("."))
    interpreter = "cp" + "".join(map(str, version))
    platforms = list(platform_tags())
    tags = [
        *cpython_tags(version, abis=[interpreter], platforms=platforms),
        *compatible_tags(version, interpreter=interpreter, platforms=platforms),
    ]
    return {str(tag): rank for rank, tag in enumerate(tags)}


def _best_file(files: Iterable[DistributionFile], ranks: dict[str, int]) -> DistributionFile | None:
    """The wheel that fits best, else an sdist, as installers choose."""
    fitting = [(rank, file) for file in files if (rank := _rank(file.name, ranks)) is not None]
    return min(fitting, key=lambda item: item[0])[1] if fitting else None


def _rank(file_name: str, ranks: dict[str, int]) -> int | None:
    if not file_name.endswith(".whl"):
        return sys.maxsize
    interpreters, abis, platforms = file_name.removesuffix(".whl").split("-")[-3:]
    found = [
        ranks[tag]
        for interpreter in interpreters.split(".")
        for abi in abis.split(".")
        for platform in platforms.split(".")
        if (tag := f"{interpreter}-{abi}-{platform}") in ranks
    ]
    return min(found, default=None)


def _cached_wheels(uv_cache: Path) -> set[str]:
    """The wheels in uv's cache, as `name-version-tags`.

    A wheel from an index lies at `wheels-v<N>/…/<name>/<version>-<tags>`, a link to its files.
    Where uv arranges its cache otherwise this finds nothing: then a forecast is too high.
    """
    return {
        f"{place.parent.name.replace('-', '_')}-{place.name}".lower()
        for place in uv_cache.glob("wheels-v*/**/*-*-*-*")
        if place.is_dir()
    }
