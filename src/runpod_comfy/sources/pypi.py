"""A distribution on a package index as a tree: its pin is the sha256 of a wheel or sdist.

It is unpacked, never built or installed: nothing of it runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from packaging.version import InvalidVersion, Version

from comfy_errors import InvalidInputError, MismatchError, UnavailableError
from runpod_comfy.cache.archive_store import find_archive, keep_archive
from runpod_comfy.cache.tree import FetchContext, FetchedTree, TreeRequest, pinned
from runpod_comfy.cache.tree_store import Filling, TreeStore
from runpod_comfy.sources.archive.extract import extract
from runpod_comfy.sources.index.files import Index, IndexFile, check_distribution
from runpod_comfy.sources.index.pip_settings import read_pip_settings

_NAMED_AT_MOST = 3


class PypiSource:
    """The TreeSource of `pypi://name`, through the indexes that this machine's pip uses."""

    def pin(self, request: TreeRequest, fetch_context: FetchContext) -> str:
        files = _files_of_version(request, fetch_context)
        title = _title(request)
        if request.commit is not None:
            if not any(_pin(file) == request.commit for file in files if file.sha256):
                raise MismatchError(
                    f"no file of {title} has the pin {request.commit}",
                    remedy="Leave 'commit' out to take the one that the index has.",
                )
            return request.commit
        chosen = _choose(files, title)
        if chosen.yanked is not None:
            fetch_context.say(f"Warning: {title} was withdrawn by its authors: {chosen.yanked}")
        if chosen.sha256 is not None:
            return _pin(chosen)
        _, sha256 = _download(chosen, fetch_context)
        return f"sha256:{sha256}"

    def fetch(self, request: TreeRequest, fetch_context: FetchContext) -> FetchedTree:
        if request.commit is None:
            request = pinned(request, self.pin(request, fetch_context))
        store = TreeStore(cache=fetch_context.cache)
        entry = store.find(request)
        if entry is not None:
            return entry
        archive = _archive(request, fetch_context)
        return store.enter(request, partial(_unpack, archive, request))


def newest_version(repo: str, fetch_context: FetchContext) -> str:
    """The newest version that is neither a pre-release nor withdrawn."""
    versions = _recommended(_all_files(repo, fetch_context))
    if not versions:
        raise UnavailableError(
            f"every version of {repo} was withdrawn by its authors",
            remedy=f"Name one all the same: {repo}@VERSION",
        )
    return versions[0]


def _unpack(archive: Path, request: TreeRequest, target: Path) -> Filling:
    is_wheel = _holds_wheel_metadata(archive)
    epoch = extract(
        archive,
        target,
        where=_title(request),
        subdir=request.subdir,
        top_folder="kept" if is_wheel else "entered",
    )
    return Filling(epoch=epoch)


def _holds_wheel_metadata(archive: Path) -> bool:
    """The cache names archives by content, so what it is is read from inside (PEP 427)."""
    import zipfile

    if not zipfile.is_zipfile(archive):
        return False
    with zipfile.ZipFile(archive) as opened:
        return any(name.endswith(".dist-info/WHEEL") for name in opened.namelist())


def _archive(request: TreeRequest, fetch_context: FetchContext) -> Path:
    commit = request.commit or ""
    sha256 = commit.removeprefix("sha256:")
    archive = find_archive(sha256, fetch_context.cache)
    if archive is not None:
        return archive
    title = _title(request)
    if fetch_context.offline:
        raise UnavailableError(
            f"{title} ({commit}) is not in the cache, and the network may not be asked",
            remedy="Run the command once without --offline.",
        )
    files = _files_of_version(request, fetch_context)
    for file in files:
        # One whose hash is not announced can only be tried.
        if file.sha256 in (None, sha256):
            path, found = _download(file, fetch_context)
            if found == sha256:
                return path
    raise MismatchError(
        f"no file of {title} on the index has the pinned {commit}; it has: "
        + ", ".join(f"{file.name} (sha256:{file.sha256})" for file in files[:_NAMED_AT_MOST]),
        remedy="Find out why the index gives other files; take them in with: "
        "runpod-comfy resolve <id> --upgrade",
    )


def _download(file: IndexFile, fetch_context: FetchContext) -> tuple[Path, str]:
    fetch_context.say(f"Downloading {file.name}")
    with Index(settings=read_pip_settings()).open(file) as chunks:
        return keep_archive(
            chunks, fetch_context.cache, where=file.name, expected_sha256=file.sha256
        )


def _all_files(repo: str, fetch_context: FetchContext) -> list[IndexFile]:
    name = check_distribution(repo)
    if fetch_context.offline:
        raise UnavailableError(
            f"the versions of {repo} cannot be looked up offline",
            remedy="Run the command once without --offline.",
        )
    return Index(settings=read_pip_settings()).files_of(name)


def _files_of_version(request: TreeRequest, fetch_context: FetchContext) -> list[IndexFile]:
    if request.ref is None:
        raise InvalidInputError(
            f"{request.repo} names no version", remedy=f"Write it: {request.repo}@VERSION"
        )
    try:
        wanted = Version(request.ref)
    except InvalidVersion as error:
        raise InvalidInputError(
            f"'{request.ref}' is not a version of a Python distribution ({request.repo})",
            remedy="Write one such as '1.2.3'.",
        ) from error
    files = _all_files(request.repo, fetch_context)
    chosen = [file for file in files if Version(file.version) == wanted]
    if not chosen:
        versions = _recommended(files) or _newest_first(file.version for file in files)
        raise UnavailableError(
            f"{request.repo} has no version {request.ref}",
            remedy=_newest_and_neighbours(wanted, versions),
        )
    return chosen


def _choose(files: list[IndexFile], title: str) -> IndexFile:
    """A wheel for every platform, else the sdist: what it holds must not depend on who asks."""
    pure = [file for file in files if file.name.endswith("-none-any.whl")]
    sources = [file for file in files if not file.is_wheel]
    chosen = pure or sources
    if not chosen:
        raise InvalidInputError(
            f"{title} has only wheels for single platforms, so it is not one tree for all",
            remedy="Name its git repository instead.",
        )
    # The same file may be on several indexes; the first is the one that pip prefers.
    first = min(file.name for file in chosen)
    return next(file for file in chosen if file.name == first)


def _recommended(files: list[IndexFile]) -> list[str]:
    """The versions that are not withdrawn, and pre-releases only where there is nothing else."""
    versions = _newest_first(file.version for file in files if file.yanked is None)
    return [version for version in versions if not Version(version).is_prerelease] or versions


def _newest_and_neighbours(wanted: Version, versions: list[str]) -> str:
    """`versions`, newest first, in one sentence: the newest, and those next to `wanted`."""
    newest = versions[0]
    newer = [version for version in versions if Version(version) > wanted]
    older = [version for version in versions if Version(version) < wanted]
    near = [version for version in newer[-1:] + older[:1] if version != newest]
    return f"The newest is {newest}" + (f"; next to {wanted}: {', '.join(near)}." if near else ".")


def _newest_first(versions: Iterable[str]) -> list[str]:
    return sorted(set(versions), key=Version, reverse=True)


def _pin(file: IndexFile) -> str:
    return f"sha256:{file.sha256}"


def _title(request: TreeRequest) -> str:
    return f"{request.repo}@{request.ref}" if request.ref else request.repo
