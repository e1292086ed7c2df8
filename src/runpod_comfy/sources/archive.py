"""An archive at a URL as a tree: its pin is the sha256 of the archive.

An archive with one top folder, as forges make them, is taken from inside that folder.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from runpod_comfy.sources.archive_download import download_archive, stored_archive
from runpod_comfy.sources.extract import TopFolder, extract
from runpod_comfy.sources.redaction import without_secrets
from runpod_comfy.sources.tree import FetchedTree, Surroundings, TreeRequest, pinned
from runpod_comfy.sources.tree_store import Filling, TreeStore


class ArchiveSource:
    """The TreeSource of `https://….zip` and its like."""

    def pin(self, request: TreeRequest, surroundings: Surroundings) -> str:
        title = without_secrets(request.repo)
        if stored_archive(request.commit, title, surroundings) is not None:
            assert request.commit is not None
            return request.commit
        return download_archive(request.repo, request.commit, title, surroundings)[1]

    def fetch(self, request: TreeRequest, surroundings: Surroundings) -> FetchedTree:
        if request.commit is None:
            request = pinned(request, self.pin(request, surroundings))
        store = TreeStore(cache=surroundings.cache)
        entry = store.find(request)
        if entry is not None:
            return entry
        title = without_secrets(request.repo)
        archive = stored_archive(request.commit, title, surroundings)
        if archive is None:
            archive, _ = download_archive(request.repo, request.commit, title, surroundings)
        return store.enter(
            request,
            partial(
                unpack,
                archive,
                title=title,
                subdir=request.subdir,
                top_folder="entered if it is the only one",
            ),
        )


def unpack(
    archive: Path, target: Path, *, title: str, subdir: str | None, top_folder: TopFolder
) -> Filling:
    """Puts the files of an archive into an empty folder; `title` names it in messages."""
    epoch = extract(archive, target, where=title, subdir=subdir, top_folder=top_folder)
    return Filling(epoch=epoch)
