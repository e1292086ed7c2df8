"""The packages of the handler in images. No version decides on them: their lock comes with this
program, for every Python and platform that images are made for."""

from __future__ import annotations

from pathlib import Path

from comfy_errors import InvalidInputError
from runpod_comfy.lock.model import Distribution, PythonLock
from runpod_comfy.lock.python.fit import files_on_platform, platforms_of
from runpod_comfy.project import IMAGES
from runpod_comfy.spec.model import Strict

HANDLER_LOCK = IMAGES / "handler" / "lock.json"


class HandlerLock(Strict):
    """What the handler needs under each of `pythons` (`3.11`) on each of `platforms`."""

    pythons: list[str]
    platforms: list[str]
    distributions: list[Distribution]


def handler_lock(path: Path = HANDLER_LOCK) -> HandlerLock:
    return HandlerLock.model_validate_json(path.read_bytes())


def handler_packages(python: str, platform: str) -> PythonLock:
    """What the handler needs under Python `python` on `platform`, as one group, `wheels`, in which
    every distribution has the files that fit and no marker.

    Raises InvalidInputError for a Python or a platform that the handler is not locked for.
    """
    lock = handler_lock()
    if python not in lock.pythons or platform not in lock.platforms:
        raise InvalidInputError(
            f"the handler does not run on Python {python} on {platform}, so there is no image of "
            f"this version: it is for Python {', '.join(lock.pythons)} "
            f"on {' and '.join(lock.platforms)}",
            remedy="Set 'options.python' in the spec to one of them and resolve again.",
        )
    return PythonLock(
        version=python,
        platforms=[platform],
        wheels=[
            Distribution(
                name=each.name,
                version=each.version,
                files=files_on_platform(each, python=python, platform=platform),
            )
            for each in lock.distributions
            if platforms_of(each.marker, python=python, platforms=[platform])
        ],
    )
