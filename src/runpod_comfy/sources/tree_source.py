"""What each kind of tree must be able to do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

from runpod_comfy.cache.tree import FetchContext, FetchedTree, Fill, TreeRequest, TreeStore


class TreeSource(ABC):
    """One kind of tree."""

    @abstractmethod
    def pin(self, request: TreeRequest, fetch_context: FetchContext) -> str:
        """The commit that `request` means now. One that it has already is confirmed.

        Raises InvalidInputError if the request is malformed, UnavailableError if it names
        something that is not there or cannot be reached, MismatchError if its commit is not one
        that its ref (or its folder) has.
        """

    @abstractmethod
    def bring(self, request: TreeRequest, fetch_context: FetchContext) -> Fill:
        """Brings here what the files of a pinned request are made of; gives what makes them.

        Raises as `pin` does.
        """

    def open_ref(self, _repo: str, _fetch_context: FetchContext) -> str | None:
        """The ref that is meant where none is given; None for a kind that has no refs."""
        return None

    def fetch(self, request: TreeRequest, fetch_context: FetchContext) -> FetchedTree:
        """The files of a request, from the cache or brought into it, checked.

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
