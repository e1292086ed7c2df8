"""The platforms that versions are made for, with each one's name in Python, Docker and locks."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Platform:
    """`name` is used in specs and locks. `sys_platform`, `system` and `machine` are Python's names,
    as in PEP 508 markers. `docker` is Docker's name, None if no images are built for it.
    """

    name: str
    sys_platform: str
    system: str
    machine: str
    docker: str | None = None

    @property
    def marker(self) -> str:
        return f"sys_platform == '{self.sys_platform}' and platform_machine == '{self.machine}'"


LINUX_X86_64 = Platform(
    name="linux-x86_64",
    sys_platform="linux",
    system="Linux",
    machine="x86_64",
    docker="linux/amd64",
)
LINUX_AARCH64 = Platform(
    name="linux-aarch64",
    sys_platform="linux",
    system="Linux",
    machine="aarch64",
    docker="linux/arm64",
)
MACOS_ARM64 = Platform(name="macos-arm64", sys_platform="darwin", system="Darwin", machine="arm64")
PLATFORMS = {each.name: each for each in (LINUX_X86_64, LINUX_AARCH64, MACOS_ARM64)}

DEFAULT_PLATFORM = LINUX_X86_64.name
"""The platform of a spec that names none: that of images, and of RunPod."""


def marker_of(platforms: Iterable[str]) -> str:
    """The marker that is true on these platforms; '' without any."""
    return " or ".join(f"({PLATFORMS[name].marker})" for name in platforms)


def this_platform() -> str:
    """The name of this machine's platform, even if no version is made for it."""
    system = {"darwin": "macos"}.get(sys.platform, sys.platform)
    return f"{system}-{os.uname().machine}"
