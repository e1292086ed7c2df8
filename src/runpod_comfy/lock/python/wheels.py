"""Downloads the distribution files for a platform into the archive store: those of a version, and
of the handler in images. No version decides on the latter: their lock comes with this program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from comfy_errors import ComfyError, InvalidInputError, MismatchError, UnavailableError
from comfy_errors.names import in_lines, quantity
from comfy_files.json_model import Strict
from comfy_files.parallel import in_parallel
from comfy_files.progress import readable_size
from comfy_files.space import require_room
from runpod_comfy.cache.paths import MORE_ROOM, Cache
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.lock.model import Distribution, DistributionFile, PythonLock
from runpod_comfy.lock.python.fit import files_on_platform, platforms_of
from runpod_comfy.project import IMAGES
from runpod_comfy.sources.index.files import Index, IndexFile
from runpod_comfy.sources.index.pip_settings import PipSettings, read_pip_settings

_TRANSFERS_AT_ONCE = 4
HANDLER_LOCK = IMAGES / "handler" / "lock.json"


@dataclass(frozen=True, kw_only=True)
class PlatformFile:
    """A wheel or sdist that a machine of the platform may install."""

    distribution: Distribution
    file: DistributionFile
    in_torch_group: bool


def platform_files(python: PythonLock, platform: str) -> list[PlatformFile]:
    """All wheels of the lock that fit some machine of `platform`, sorted by name.

    Machines of one platform differ in which wheel fits best. An sdist is only used if a
    distribution has no such wheel. Raises UnavailableError for a distribution that has no file for
    the platform.
    """
    chosen = {}
    for distribution in python.distributions:
        marker = distribution.marker
        if not platforms_of(marker, python=python.version, platforms=[platform]):
            continue
        files = files_on_platform(distribution, python=python.version, platform=platform)
        if not files:
            raise UnavailableError(
                f"the lock has no file of {distribution.name} {distribution.version} "
                f"for {platform}",
                remedy="Select another version of it with options.overrides, and resolve.",
            )
        in_torch_group = distribution in python.torch
        for file in files:
            chosen[file.sha256] = PlatformFile(
                distribution=distribution, file=file, in_torch_group=in_torch_group
            )
    return sorted(chosen.values(), key=lambda each: (each.file.name, each.file.sha256))


def bring_wheels(
    files: Sequence[PlatformFile],
    torch_index: str | None,
    fetch_context: FetchContext,
    settings: PipSettings | None = None,
) -> dict[str, Path]:
    """The path of each file in the archive store, by sha256; downloads missing files.

    `settings` say where from; None means this machine's pip configuration. `torch_index` is
    searched first for the group `torch`. Raises one error that names every unavailable file:
    MismatchError if an index has other bytes than the lock, else UnavailableError.
    """
    paths = {each.file.sha256: fetch_context.cache.archives / each.file.sha256 for each in files}
    absent = [each for each in files if not paths[each.file.sha256].is_file()]
    if not absent:
        return paths
    size_bytes = absent_bytes(absent, fetch_context.cache)
    require_room(
        [(fetch_context.cache.archives, size_bytes)],
        remedy=MORE_ROOM,
    )
    named = quantity(len(absent), "Python package")
    fetch_context.say(f"Downloading {named}, {readable_size(size_bytes)}")
    settings = settings or read_pip_settings()
    offered = {}
    for in_torch_group, asked in ((True, settings.with_first(torch_index)), (False, settings)):
        names = {each.distribution.name for each in absent if each.in_torch_group == in_torch_group}
        offered[in_torch_group] = Index(settings=asked).look_up(sorted(names))

    def bring(wanted: PlatformFile) -> ComfyError | None:
        found = offered[wanted.in_torch_group][wanted.distribution.name]
        if isinstance(found, UnavailableError):
            return found
        try:
            _download(wanted.file, found, fetch_context, settings)
        except (MismatchError, UnavailableError) as error:
            return error
        return None

    errors = list(filter(None, in_parallel(bring, absent, threads=_TRANSFERS_AT_ONCE)))
    if errors:
        kind = MismatchError if MismatchError in map(type, errors) else UnavailableError
        lines = in_lines([error.message for error in errors])
        raise kind(
            f"{len(errors)} of {quantity(len(files), 'Python package is', 'Python packages are')} "
            f"not available:{lines}",
            remedy="Check the network, and the indexes that pip is configured to use "
            "('pip config list'); then run the command again to continue.",
        )
    return paths


def absent_bytes(files: Sequence[PlatformFile], cache: Cache) -> int:
    """The bytes of the files that the archive store lacks, as far as the lock has sizes."""
    sizes = {each.file.sha256: each.file.size or 0 for each in files}
    return sum(size for sha256, size in sizes.items() if not (cache.archives / sha256).is_file())


def _download(
    file: DistributionFile,
    offered: list[IndexFile],
    fetch_context: FetchContext,
    settings: PipSettings,
) -> None:
    places = [place for place in offered if place.sha256 == file.sha256]
    # A file without an announced hash has to be downloaded to know.
    places += [place for place in offered if place.sha256 is None and place.name == file.name]
    if not places:
        others = [place.sha256 for place in offered if place.name == file.name]
        if others:
            raise MismatchError(
                f"{file.name} has sha256 {others[0]} on the index, the lock says {file.sha256}"
            )
        raise UnavailableError(f"{file.name} is on no index any more (sha256 {file.sha256})")
    index = Index(settings=settings)
    index.keep(places[0], fetch_context.cache, expected_sha256=file.sha256)
    fetch_context.say(f"Downloaded {file.name}")


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
