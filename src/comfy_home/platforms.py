"""The platforms that versions are made for, each with its names in the places that name it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Platform:
    """`name` is that of specs and locks. `sys_platform`, `system` and `machine` are what Python
    calls it, in markers of PEP 508. `docker` is Docker's name, None where there are no images."""

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


def this_platform() -> str:
    """The name of this machine's platform, also of one that no version is made for."""
    system = {"darwin": "macos"}.get(sys.platform, sys.platform)
    return f"{system}-{os.uname().machine}"
