"""Which files of Python distributions this machine would take, and which it already has."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runpod_comfy.cache.archive_store import archive_index, find_archive
from runpod_comfy.cache.paths import Cache
from runpod_comfy.lock.model import Distribution, DistributionFile


@dataclass(frozen=True, kw_only=True)
class NeededFile:
    """A file that this machine takes for a distribution. `size_bytes` is None where the lock does
    not know it; `unpacked` says whether uv's cache holds it, `stored` whether it lies in the
    archive store as it is."""

    distribution: str
    file: DistributionFile
    unpacked: bool
    stored: bool

    @property
    def cached(self) -> bool:
        return self.unpacked or self.stored

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def size_bytes(self) -> int | None:
        return self.file.size


def needed_files(
    distributions: Sequence[Distribution], *, python: str, cache: Cache
) -> list[NeededFile]:
    """The file of each distribution whose marker holds here, under Python `python` (`3.11`)."""
    if not distributions:
        return []
    unpacked = _unpacked_wheels(cache.uv)
    return [
        NeededFile(
            distribution=f"{distribution.name} {distribution.version}",
            file=files[0],
            unpacked=_uv_name(files[0]) in unpacked,
            stored=find_archive(files[0].sha256, cache) is not None,
        )
        for distribution, files in fitting_files(distributions, python=python)
        if files
    ]


def fitting_files(
    distributions: Sequence[Distribution], *, python: str
) -> list[tuple[Distribution, list[DistributionFile]]]:
    """Each distribution whose marker holds here, with the files that this machine could take:
    wheels, those that fit best first, then sdists, as installers choose."""
    from packaging.markers import Marker

    ranks = _tag_ranks(python)
    here = {"python_version": python, "python_full_version": f"{python}.0"}
    return [
        (distribution, _by_fit(distribution.files, ranks))
        for distribution in distributions
        if distribution.marker is None or Marker(distribution.marker).evaluate(here)
    ]


def stored_indexes(
    distributions: Sequence[Distribution], *, python: str, cache: Cache, offline: bool
) -> list[str]:
    """Indexes of the files that lie in the archive store, for uv to take instead of a download.

    With a network, those that uv has unpacked from there already are left out: they would be
    unpacked a second time. Without one, what uv remembers of a network index may not do.
    """
    from packaging.utils import canonicalize_name

    known = set() if offline else _unpacked_wheels(cache.uv, downloaded=True)
    found = (
        archive_index(canonicalize_name(distribution.name), file.name, file.sha256, cache)
        for distribution, files in fitting_files(distributions, python=python)
        for file in files
        if _uv_name(file) not in known
    )
    return [index for index in found if index is not None]


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


def _by_fit(files: Iterable[DistributionFile], ranks: dict[str, int]) -> list[DistributionFile]:
    fitting = [(rank, file) for file in files if (rank := _rank(file.name, ranks)) is not None]
    return [file for _, file in sorted(fitting, key=lambda item: item[0])]


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


def _uv_name(file: DistributionFile) -> str:
    return file.name.removesuffix(".whl").lower()


def _unpacked_wheels(uv_cache: Path, *, downloaded: bool = False) -> set[str]:
    """The wheels in uv's cache, as `name-version-tags`; with `downloaded` those from a network.

    A wheel from an index lies at `wheels-v<N>/…/<name>/<version>-<tags>`, a link to its files,
    beside a file `….http` if it was downloaded.
    Where uv arranges its cache otherwise this finds nothing: then an estimate is too high.
    """
    return {
        f"{place.parent.name.replace('-', '_')}-{place.name}".lower()
        for place in uv_cache.glob("wheels-v*/**/*-*-*-*")
        if place.is_dir() and (not downloaded or place.with_name(f"{place.name}.http").exists())
    }
