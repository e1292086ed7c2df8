"""Writes images/handler/lock.json: the packages of the handler in an image, with hashes.

    .venv/bin/python scripts/handler_lock.py

The names come from images/handler/requirements.txt, all else from lockfiles/default.lock, so that
an image has the versions that the tests run with. It needs no network. Only wheels are listed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from comfy_home.platforms import PLATFORMS
from pex_lock import locked_distributions
from runpod_comfy.lock.model import Distribution, DistributionFile
from runpod_comfy.lock.python.fit import fits_platform, fits_python, platforms_of
from runpod_comfy.lock.python.wheels import HANDLER_LOCK, HandlerLock

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_LOCK = ROOT / "lockfiles" / "default.lock"
REQUIREMENTS = HANDLER_LOCK.with_name("requirements.txt")

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
IMAGE_PLATFORMS = tuple(name for name, platform in PLATFORMS.items() if platform.docker)

Locked = Mapping[str, dict[str, Any]]


def handler_lock(names: Sequence[str], locked: Locked) -> HandlerLock:
    """`names` and their dependencies, from `locked`, the requirements of default.lock by name.

    Raises ValueError for a distribution without a wheel for a Python or a platform.
    """
    places = [(python, platform) for python in PYTHONS for platform in IMAGE_PLATFORMS]
    needed = {place: _closure(names, locked, *place) for place in places}
    distributions = []
    for name in sorted(set().union(*needed.values())):
        where = [place for place in places if name in needed[place]]
        files = _wheels(locked[name])
        for python, platform in where:
            if not any(_fits(file, python, platform) for file in files):
                raise ValueError(f"{name} has no wheel for Python {python} on {platform}")
        distributions.append(
            Distribution(
                name=name,
                version=locked[name]["version"],
                marker=None if where == places else _marker(where),
                files=[file for file in files if any(_fits(file, *place) for place in where)],
            )
        )
    return HandlerLock(
        pythons=list(PYTHONS), platforms=list(IMAGE_PLATFORMS), distributions=distributions
    )


def lock_text(names: Sequence[str], locked: Locked) -> str:
    """The text of the lock's file."""
    document = handler_lock(names, locked).model_dump(mode="json", exclude_defaults=True)
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def required_names() -> list[str]:
    """The distributions that the handler imports, one per line in requirements.txt."""
    return REQUIREMENTS.read_text(encoding="utf-8").split()


def locked_by_name(lock: Path = DEFAULT_LOCK) -> Locked:
    return {each["project_name"]: each for each in locked_distributions(lock)}


def _closure(names: Sequence[str], locked: Locked, python: str, platform: str) -> set[str]:
    seen: set[tuple[str, str]] = set()
    left = [(name, "") for name in names]
    while left:
        name, extra = asked = left.pop()
        if asked in seen:
            continue
        seen.add(asked)
        for line in locked[name]["requires_dists"]:
            needed = Requirement(line)
            marker = str(needed.marker) if needed.marker else None
            if platforms_of(marker, python=python, platforms=[platform], extra=extra):
                left += [(canonicalize_name(needed.name), each) for each in ("", *needed.extras)]
    return {name for name, _ in seen}


def _wheels(locked: Mapping[str, Any]) -> list[DistributionFile]:
    files = {
        unquote(urlsplit(each["url"]).path.rpartition("/")[2]): each["hash"]
        for each in locked["artifacts"]
    }
    return [
        DistributionFile(name=name, sha256=files[name])
        for name in sorted(files)
        if name.endswith(".whl")
    ]


def _fits(file: DistributionFile, python: str, platform: str) -> bool:
    return fits_python(file.name, python) and fits_platform(file.name, platform)


def _marker(places: Sequence[tuple[str, str]]) -> str:
    return " or ".join(
        f"python_version == '{python}' and {PLATFORMS[platform].marker}"
        for python, platform in places
    )


def main() -> None:
    HANDLER_LOCK.write_text(lock_text(required_names(), locked_by_name()), encoding="utf-8")


if __name__ == "__main__":
    main()
