"""A node of the Comfy Registry as a tree: its pin is the sha256 of its archive.

The registry publishes no hash, so ours is of what arrived first; it is held against all that
arrives later. The archive is taken as it is, as ComfyUI-Manager takes it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from comfy_errors import InvalidInputError, UnavailableError
from runpod_comfy.cache.tree import FetchContext, FetchedTree, TreeRequest, pinned
from runpod_comfy.cache.tree_store import TreeStore
from runpod_comfy.sources.archive.download import download_archive, stored_archive
from runpod_comfy.sources.archive.source import unpack
from runpod_comfy.sources.registry.api import Registry


class RegistrySource:
    """The TreeSource of `comfy://node`."""

    def pin(self, request: TreeRequest, fetch_context: FetchContext) -> str:
        return _archive(request, fetch_context)[1]

    def fetch(self, request: TreeRequest, fetch_context: FetchContext) -> FetchedTree:
        if request.commit is None:
            request = pinned(request, self.pin(request, fetch_context))
        store = TreeStore(cache=fetch_context.cache)
        entry = store.find(request)
        if entry is not None:
            return entry
        archive, _ = _archive(request, fetch_context)
        title = _title(request)
        return store.enter(
            request,
            partial(unpack, archive, title=title, subdir=request.subdir, top_folder="kept"),
        )


def newest_version(repo: str, fetch_context: FetchContext) -> str:
    """The newest version that the registry offers, by its number."""
    if fetch_context.offline:
        raise UnavailableError(
            f"the versions of {repo} cannot be looked up offline",
            remedy="Run the command once without --offline.",
        )
    return Registry.from_environment().newest_of(_node(repo)).version


def _archive(request: TreeRequest, fetch_context: FetchContext) -> tuple[Path, str]:
    """The archive and its pin."""
    title = _title(request)
    stored = stored_archive(request.commit, title, fetch_context)
    if stored is not None and request.commit is not None:
        return stored, request.commit
    if request.ref is None:
        raise InvalidInputError(
            f"{request.repo} names no version", remedy=f"Write it: {request.repo}@VERSION"
        )
    registry = Registry.from_environment()
    found = registry.version_of(_node(request.repo), request.ref)
    for concern in found.concerns:
        fetch_context.say(f"Warning: {title} {concern}")
    url = registry.archive_url(_node(request.repo), found)
    return download_archive(url, request.commit, title, fetch_context)


def _node(repo: str) -> str:
    return repo.removeprefix("comfy://")


def _title(request: TreeRequest) -> str:
    return f"{request.repo}@{request.ref}" if request.ref else request.repo
