"""Where this machine gets Debian's packages, as its own apt is told."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

_DEBIAN = "http://deb.debian.org/debian"
"""Debian's own, for a machine whose apt knows none of the release."""
_DEBIAN_SECURITY = "http://deb.debian.org/debian-security"
_ASK_APT = (
    "apt-get",
    "indextargets",
    "--format",
    "$(RELEASE) $(COMPONENT) $(REPO_URI)",
    "Created-By: Packages",
)


@dataclass(frozen=True, kw_only=True)
class DebianMirrors:
    """Addresses of a release's packages, of its updates and of its security updates."""

    packages: str
    updates: str | None = None
    security: str | None = None


def find_mirrors(suite: str, mirror: str | None = None) -> DebianMirrors:
    """`mirror` alone if there is one, else those of this machine's apt, else Debian's own."""
    if mirror:
        return DebianMirrors(packages=mirror)
    return mirrors_in(_apt_sources(), suite)


def mirrors_in(sources: str, suite: str) -> DebianMirrors:
    """The mirrors in what apt tells of its sources: lines of suite, component and address."""
    known: dict[str, str] = {}
    for line in sources.splitlines():
        match line.split():
            case [named, "main", address]:
                known.setdefault(named, address.rstrip("/"))
    if suite not in known:
        return DebianMirrors(packages=_DEBIAN, updates=_DEBIAN, security=_DEBIAN_SECURITY)
    return DebianMirrors(
        packages=known[suite],
        updates=known.get(f"{suite}-updates"),
        security=known.get(f"{suite}-security"),
    )


def _apt_sources() -> str:
    try:
        asked = subprocess.run(_ASK_APT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return asked.stdout if asked.returncode == 0 else ""
