"""The protocol that each kind of tree implements."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

from runpod_comfy.cache.tree import FetchContext, FetchedTree, Fill, TreeRequest, TreeStore


class TreeSource(ABC):
    """One kind of tree."""

    @abstractmethod
    def pin(self, request: TreeRequest, fetch_context: FetchContext) -> str:
        """The commit that `request` refers to now. An existing commit is confirmed.

        Raises InvalidInputError if the request is malformed, UnavailableError if it names something
        that does not exist or cannot be reached, MismatchError if its commit is not in the history
        of its ref (or not the content of its folder).
        """

    @abstractmethod
    def bring(self, request: TreeRequest, fetch_context: FetchContext) -> Fill:
        """Downloads the material for the files of a pinned request; returns what writes the files.

        Raises as `pin` does.
        """

    def open_ref(self, _repo: str, _fetch_context: FetchContext) -> str | None:
        """The default ref; None for a kind without refs."""
        return None

    def has_file(self, _request: TreeRequest, _path: str, _fetch_context: FetchContext) -> bool:
        """True if the source of a pinned request has a file at this path, whatever its `subdir`;
        False for a kind that cannot tell.
        """
        return False

    def fetch(self, request: TreeRequest, fetch_context: FetchContext) -> FetchedTree:
        """The checked files of a request, fetched into the cache if they are not there.

        Raises as `pin` does.
        """
        commit = request.commit or self.pin(request, fetch_context)
        request = replace(request, commit=commit)
        store = TreeStore(cache=fetch_context.cache)
        return store.find(request) or store.enter(
            request,
            self.bring(request, fetch_context),
            expected_tree_hash=commit if commit.startswith("tree:") else None,
        )
