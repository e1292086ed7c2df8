"""An archive at a URL as a tree: its pin is the sha256 of the archive.

An archive with one top folder, as forges make them, is taken from inside that folder.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from runpod_comfy.sources.archive_download import download_archive, is_on_disk, stored_archive
from runpod_comfy.sources.extract import TopFolder, extract
from runpod_comfy.sources.redaction import without_secrets
from runpod_comfy.sources.tree import FetchedTree, Surroundings, TreeRequest, pinned
from runpod_comfy.sources.tree_store import Filling, TreeStore


class ArchiveSource:
    """The TreeSource of `https://….zip` and its like."""

    def pin(self, request: TreeRequest, surroundings: Surroundings) -> str:
        return _archive(request, surroundings)[1]

    def fetch(self, request: TreeRequest, surroundings: Surroundings) -> FetchedTree:
        if request.commit is None:
            request = pinned(request, self.pin(request, surroundings))
        store = TreeStore(cache=surroundings.cache)
        entry = store.find(request)
        if entry is not None:
            return entry
        archive, _ = _archive(request, surroundings)
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


def _archive(request: TreeRequest, surroundings: Surroundings) -> tuple[Path, str]:
    """The archive and its pin."""
    url, pin, title = request.repo, request.commit, without_secrets(request.repo)
    found = stored_archive(pin, title, surroundings, on_disk=is_on_disk(url))
    if found is not None and pin is not None:
        return found, pin
    return download_archive(url, pin, title, surroundings)


def unpack(
    archive: Path, target: Path, *, title: str, subdir: str | None, top_folder: TopFolder
) -> Filling:
    """Puts the files of an archive into an empty folder; `title` names it in messages."""
    epoch = extract(archive, target, where=title, subdir=subdir, top_folder=top_folder)
    return Filling(epoch=epoch)
