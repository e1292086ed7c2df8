"""A distribution on a package index as a tree: its pin is the sha256 of a wheel or sdist.

It is unpacked, never built or installed: none of its code runs.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from packaging.version import InvalidVersion, Version

from comfy_errors import InvalidInputError, MismatchError, UnavailableError
from comfy_errors.names import listed
from runpod_comfy.cache.tree import FetchContext, Fill, TreeRequest
from runpod_comfy.sources.archive import stored_archive, unpack
from runpod_comfy.sources.extract import TopFolder
from runpod_comfy.sources.index.files import Index, IndexFile
from runpod_comfy.sources.index.pip_settings import read_pip_settings
from runpod_comfy.sources.kinds import TreeSource

_NAMED_AT_MOST = 3


class PypiSource(TreeSource):
    """The TreeSource of `pypi://name`, through the indexes that this machine's pip uses."""

    def pin(self, request: TreeRequest, fetch_context: FetchContext) -> str:
        files = _files_of_version(request, fetch_context)
        if request.commit is not None:
            if not any(_pin(file) == request.commit for file in files):
                raise _foreign(request)
            return request.commit
        chosen = _choose(files, request.title)
        if chosen.yanked is not None:
            fetch_context.say(
                f"Warning: {request.title} was yanked by its authors: {chosen.yanked}"
            )
        return _pin(chosen) or f"sha256:{_download(chosen, fetch_context)[1]}"

    def bring(self, request: TreeRequest, fetch_context: FetchContext) -> Fill:
        archive = stored_archive(request, fetch_context) or _find(request, fetch_context)
        # An sdist has one top folder, a wheel has none.
        top_folder: TopFolder = "kept" if _holds_wheel_metadata(archive) else "entered"
        return partial(unpack, request, archive, top_folder)

    def open_ref(self, repo: str, fetch_context: FetchContext) -> str:
        """The newest version that is neither a pre-release nor yanked."""
        versions = _recommended(_all_files(repo, fetch_context))
        if not versions:
            raise UnavailableError(
                f"every version of {repo} was yanked by its authors",
                remedy=f"To use one anyway, name it: {repo}@VERSION",
            )
        return versions[0]


def refuse_foreign_file(request: TreeRequest, fetch_context: FetchContext) -> None:
    """Raises MismatchError if a pinned request has the pin of another version's file.

    Does nothing offline, and where the index cannot tell.
    """
    if request.ref is None or fetch_context.offline:
        return
    with contextlib.suppress(UnavailableError):
        pins = [_pin(file) for file in _files_of_version(request, fetch_context)]
        if None not in pins and request.commit not in pins:
            raise _foreign(request)


def _foreign(request: TreeRequest) -> MismatchError:
    return MismatchError(
        f"no file of {request.title} has the pin {request.commit}",
        remedy="Remove 'commit' to use the file that the index has.",
    )


def _holds_wheel_metadata(archive: Path) -> bool:
    """The cache names archives by content, so the kind is read from the file itself (PEP 427)."""
    if not zipfile.is_zipfile(archive):
        return False
    with zipfile.ZipFile(archive) as opened:
        return any(name.endswith(".dist-info/WHEEL") for name in opened.namelist())


def _find(request: TreeRequest, fetch_context: FetchContext) -> Path:
    """The file with a request's pin, downloaded from the index."""
    files = _files_of_version(request, fetch_context)
    for file in files:
        # A file without an announced hash has to be downloaded to know.
        if _pin(file) in (None, request.commit):
            path, found = _download(file, fetch_context)
            if f"sha256:{found}" == request.commit:
                return path
    raise MismatchError(
        f"no file of {request.title} on the index has the pinned {request.commit}; it has: "
        + listed([f"{file.name} (sha256:{file.sha256})" for file in files], at_most=_NAMED_AT_MOST),
        remedy="Find out why the index has other files; accept them with: runpod-comfy resolve "
        "<id> --upgrade",
    )


def _download(file: IndexFile, fetch_context: FetchContext) -> tuple[Path, str]:
    fetch_context.say(f"Downloading {file.name}")
    return Index(settings=read_pip_settings()).keep(file, fetch_context.cache)


def _all_files(repo: str, fetch_context: FetchContext) -> list[IndexFile]:
    fetch_context.need_network(f"the versions of {repo} cannot be looked up offline")
    return Index(settings=read_pip_settings()).files_of(repo.removeprefix("pypi://"))


def _files_of_version(request: TreeRequest, fetch_context: FetchContext) -> list[IndexFile]:
    try:
        wanted = Version(request.version)
    except InvalidVersion as error:
        raise InvalidInputError(
            f"'{request.ref}' is not a version of a Python distribution ({request.repo})",
            remedy="Use a version such as '1.2.3'.",
        ) from error
    files = _all_files(request.repo, fetch_context)
    chosen = [file for file in files if Version(file.version) == wanted]
    if not chosen:
        versions = _recommended(files) or [file.version for file in files]
        raise UnavailableError(
            f"{request.repo} has no version {request.ref}",
            remedy=newest_and_neighbours(request.version, versions),
        )
    return chosen


def _choose(files: list[IndexFile], title: str) -> IndexFile:
    """A wheel for every platform, else the sdist: the content must not depend on the machine."""
    pure = [file for file in files if file.name.endswith("-none-any.whl")]
    chosen = pure or [file for file in files if not file.name.endswith(".whl")]
    if not chosen:
        raise InvalidInputError(
            f"{title} has only platform-specific wheels, so its tree would differ by platform",
            remedy="Use its git repository instead.",
        )
    # A file may be on several indexes; the first is the one that pip prefers.
    return min(chosen, key=lambda file: file.name)


def _recommended(files: list[IndexFile]) -> list[str]:
    """The versions that are not yanked, the newest first; pre-releases only if there is nothing
    else.
    """
    versions = {file.version for file in files if file.yanked is None}
    final = [version for version in versions if not Version(version).is_prerelease]
    return sorted(final or versions, key=Version, reverse=True)


def newest_and_neighbours(wanted: str, versions: Iterable[str]) -> str:
    """One sentence with the newest of `versions` and those closest to `wanted`; "" for none."""
    ordered = sorted(set(versions), key=version_order, reverse=True)
    if not ordered:
        return ""
    newer = [version for version in ordered if version_order(version) > version_order(wanted)]
    older = [version for version in ordered if version_order(version) < version_order(wanted)]
    near = [version for version in newer[-1:] + older[:1] if version != ordered[0]]
    return f"The newest is {ordered[0]}" + (
        f"; next to {wanted}: {', '.join(near)}." if wanted and near else "."
    )


def version_order(version: str) -> tuple[Version, str]:
    """Sort key for versions; invalid ones come first."""
    try:
        return Version(version), ""
    except InvalidVersion:
        return Version("0.dev0"), version


def _pin(file: IndexFile) -> str | None:
    return f"sha256:{file.sha256}" if file.sha256 else None
