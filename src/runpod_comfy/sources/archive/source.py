"""An archive at a URL as a tree: its pin is the sha256 of the archive.

An archive with one top folder, as forges make them, is taken from inside that folder.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from comfy_http.redaction import without_secrets
from runpod_comfy.cache.tree import FetchContext, FetchedTree, TreeRequest, pinned
from runpod_comfy.cache.tree_store import Filling, TreeStore
from runpod_comfy.sources.archive.download import download_archive, is_on_disk, stored_archive
from runpod_comfy.sources.archive.extract import TopFolder, extract


class ArchiveSource:
    """The TreeSource of `https://….zip` and its like."""

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
        return store.enter(
            request,
            partial(
                unpack,
                archive,
                title=without_secrets(request.repo),
                subdir=request.subdir,
                top_folder="entered if it is the only one",
            ),
        )


def _archive(request: TreeRequest, fetch_context: FetchContext) -> tuple[Path, str]:
    """The archive and its pin."""
    url, pin, title = request.repo, request.commit, without_secrets(request.repo)
    found = stored_archive(pin, title, fetch_context, on_disk=is_on_disk(url))
    if found is not None and pin is not None:
        return found, pin
    return download_archive(url, pin, title, fetch_context)


def unpack(
    archive: Path, target: Path, *, title: str, subdir: str | None, top_folder: TopFolder
) -> Filling:
    """Puts the files of an archive into an empty folder; `title` names it in messages."""
    epoch = extract(archive, target, where=title, subdir=subdir, top_folder=top_folder)
    return Filling(epoch=epoch)
