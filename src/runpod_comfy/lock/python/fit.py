"""Which markers are true and which files fit, on the platforms of a spec and on this machine."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Sequence

from packaging.markers import Marker
from packaging.tags import Tag, compatible_tags, cpython_tags, platform_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from comfy_home.platforms import PLATFORMS
from runpod_comfy.lock.model import Distribution, DistributionFile

# A first and a last patch release of a Python, for evaluating markers.
_PATCHES = (0, 99)


def platforms_of(
    marker: str | None, *, python: str, platforms: Sequence[str], extra: str = ""
) -> list[str]:
    """The `platforms` on which the marker is true under some patch release of `python`, with the
    requested `extra`.
    """
    if marker is None:
        return list(platforms)
    parsed = Marker(marker)
    return [
        platform
        for platform in platforms
        if any(_holds(parsed, platform, python, patch, extra) for patch in _PATCHES)
    ]


def brief_marker(marker: str | None, *, python: str, platforms: Sequence[str]) -> str | None:
    """The shortest equivalent of the marker on `platforms` under Python `python`.

    None if it is true on all of them. A marker that depends on Python's patch release is returned
    unchanged.
    """
    if marker is None:
        return None
    parsed = Marker(marker)
    first, last = (
        [platform for platform in platforms if _holds(parsed, platform, python, patch)]
        for patch in _PATCHES
    )
    if first != last:
        return marker
    if first == list(platforms):
        return None
    return " or ".join(PLATFORMS[platform].marker for platform in first)


def _holds(marker: Marker, platform: str, python: str, patch: int, extra: str = "") -> bool:
    full_version = f"{python}.{patch}"
    return marker.evaluate(
        {
            "sys_platform": PLATFORMS[platform].sys_platform,
            "platform_system": PLATFORMS[platform].system,
            "platform_machine": PLATFORMS[platform].machine,
            "os_name": "posix",
            "implementation_name": "cpython",
            "implementation_version": full_version,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_version": "",
            "python_version": python,
            "python_full_version": full_version,
            "extra": extra,
        }
    )


def fits_python(file_name: str, python: str) -> bool:
    """True if CPython `python` (say `3.11`) can install this wheel; an sdist always fits."""
    return not file_name.endswith(".whl") or any(
        (tag.interpreter, tag.abi) in _interfaces(python)
        and not tag.platform.startswith(("ios", "android", "win"))
        for tag in _wheel_tags(file_name)
    )


def fits_platform(file_name: str, platform: str) -> bool:
    """True if a wheel fits some machine of `platform`; an sdist always fits."""
    return not file_name.endswith(".whl") or any(
        _is_for(tag.platform, platform) for tag in _wheel_tags(file_name)
    )


def files_on_platform(
    distribution: Distribution, *, python: str, platform: str
) -> list[DistributionFile]:
    """All wheels that fit some machine of `platform`; the sdists if there are none."""
    fitting = [
        file
        for file in distribution.files
        if fits_python(file.name, python) and fits_platform(file.name, platform)
    ]
    return [file for file in fitting if file.name.endswith(".whl")] or fitting


def fitting_files(
    distributions: Sequence[Distribution], *, python: str
) -> list[tuple[Distribution, list[DistributionFile]]]:
    """Each distribution whose marker is true here, with the files that fit this machine: wheels,
    the best match first, then sdists, as installers choose.
    """
    ranks = {tag: rank for rank, tag in enumerate(_tags(python, list(platform_tags())))}
    here = {"python_version": python, "python_full_version": f"{python}.0"}

    def rank(file: DistributionFile) -> int:
        if not file.name.endswith(".whl"):
            return len(ranks)
        return min((ranks[tag] for tag in _wheel_tags(file.name) if tag in ranks), default=-1)

    return [
        (
            distribution,
            sorted((file for file in distribution.files if rank(file) >= 0), key=rank),
        )
        for distribution in distributions
        if distribution.marker is None or Marker(distribution.marker).evaluate(here)
    ]


def _wheel_tags(file_name: str) -> Collection[Tag]:
    try:
        return parse_wheel_filename(file_name)[3]
    except InvalidWheelFilename:
        return ()


def _tags(python: str, platforms: Sequence[str]) -> Iterator[Tag]:
    """The tags that CPython `python` supports on `platforms`, the best first."""
    version = tuple(map(int, python.split(".")))
    interpreter = "cp" + "".join(map(str, version))
    yield from cpython_tags(version, abis=[interpreter], platforms=platforms)
    yield from compatible_tags(version, interpreter=interpreter, platforms=platforms)


@functools.cache
def _interfaces(python: str) -> frozenset[tuple[str, str]]:
    return frozenset((tag.interpreter, tag.abi) for tag in _tags(python, ["any"]))


def _is_for(tag: str, platform: str) -> bool:
    system, machine = platform.split("-")
    if system == "macos":
        fits = tag.startswith("macosx_") and tag.endswith((f"_{machine}", "_universal2"))
    else:
        fits = tag.startswith(("manylinux", "linux")) and tag.endswith(f"_{machine}")
    return fits or tag == "any"
