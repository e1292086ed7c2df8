"""Markers and wheels seen from the platforms of a spec: what applies there, said briefly."""

from __future__ import annotations

from collections.abc import Sequence

from packaging.markers import Marker
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from comfy_home.platforms import PLATFORMS


def brief_marker(marker: str | None, *, python: str, platforms: Sequence[str]) -> str | None:
    """The marker in the fewest words that mean the same on `platforms` under Python `python`.

    None where it holds on all of them. A marker that depends on Python's patch release
    is returned as it is.
    """
    if marker is None:
        return None
    parsed = Marker(marker)
    first, last = (
        [platform for platform in platforms if _holds(parsed, platform, python, patch)]
        for patch in (0, 99)
    )
    if first != last:
        return marker
    if first == list(platforms):
        return None
    return " or ".join(PLATFORMS[platform].marker for platform in first)


def holds_somewhere(marker: Marker, *, python: str, platforms: Sequence[str]) -> bool:
    """Whether the marker holds on any of `platforms`, under any patch release of `python`."""
    return any(
        _holds(marker, platform, python, patch) for platform in platforms for patch in (0, 99)
    )


def platforms_of(marker: str | None, *, python: str, platforms: Sequence[str]) -> list[str]:
    """Those of `platforms` on which the marker holds."""
    if marker is None:
        return list(platforms)
    parsed = Marker(marker)
    return [
        platform
        for platform in platforms
        if holds_somewhere(parsed, python=python, platforms=[platform])
    ]


def fits_platform(file_name: str, platform: str) -> bool:
    """Whether a wheel is for `platform`; an sdist fits every one."""
    if not file_name.endswith(".whl"):
        return True
    try:
        tags = parse_wheel_filename(file_name)[3]
    except InvalidWheelFilename:
        return False
    return any(_fits_platform(tag.platform, platform) for tag in tags)


def _fits_platform(tag: str, platform: str) -> bool:
    system, machine = platform.split("-")
    if tag == "any":
        return True
    if system == "macos":
        return tag.startswith("macosx_") and tag.endswith((f"_{machine}", "_universal2"))
    return tag.startswith(("manylinux", "linux")) and tag.endswith(f"_{machine}")


def _holds(marker: Marker, platform: str, python: str, patch: int) -> bool:
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
            "extra": "",
        }
    )


def fits_python(file_name: str, python: str) -> bool:
    """Whether CPython `python` (say `3.11`) may install this wheel; an sdist always fits."""
    if not file_name.endswith(".whl"):
        return True
    try:
        tags = parse_wheel_filename(file_name)[3]
    except InvalidWheelFilename:
        return False
    minor = int(python.split(".")[1])
    return any(
        _fits_tag(tag.interpreter, tag.abi, minor)
        for tag in tags
        if not tag.platform.startswith(("ios", "android", "win"))
    )


def _fits_tag(interpreter: str, abi: str, minor: int) -> bool:
    if interpreter == f"cp3{minor}":
        return abi in (f"cp3{minor}", "abi3", "none")
    lower_bound = interpreter[3:]
    if interpreter.startswith("py3"):
        return abi == "none" and (not lower_bound or int(lower_bound) <= minor)
    if interpreter.startswith("cp3") and abi in ("abi3", "none"):
        return lower_bound.isdecimal() and int(lower_bound) <= minor
    return False
