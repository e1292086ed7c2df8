"""The kinds of trees: what each can do, and which source does it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

from runpod_comfy.cache.tree import FetchContext, FetchedTree, Fill, TreeRequest, TreeStore
from runpod_comfy.spec.model import Tree
from runpod_comfy.spec.values import TreeKind


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


def source_of(kind: TreeKind) -> TreeSource:
    """The source of a kind."""
    # Each is imported when it is met: a version from git alone needs no index client.
    if kind == "git":
        from runpod_comfy.sources.git.source import GitSource

        return GitSource()
    if kind == "pypi":
        from runpod_comfy.sources.pypi import PypiSource

        return PypiSource()
    if kind == "folder":
        from runpod_comfy.sources.folder import FolderSource

        return FolderSource()
    if kind == "archive":
        from runpod_comfy.sources.archive import ArchiveSource

        return ArchiveSource()
    from runpod_comfy.sources.registry import RegistrySource

    return RegistrySource()


def settle(tree: Tree, fetch_context: FetchContext) -> Tree:
    """The tree with `ref` and `commit` filled in, as `create` writes them.

    A git repository without a ref is taken at its default branch, a distribution or a node of the
    registry without a version at its newest stable one. A commit that is there already is
    confirmed. A folder stays without a commit: it is pinned by the lock, so that working on it
    changes no spec.
    """
    source = source_of(tree.kind)
    ref = tree.ref
    if ref is None and tree.commit is None:
        ref = source.open_ref(tree.repo, fetch_context)
    request = TreeRequest(repo=tree.repo, ref=ref, commit=tree.commit, subdir=tree.subdir)
    commit = source.pin(request, fetch_context)
    if tree.kind == "folder":
        return tree
    return tree.model_copy(update={"ref": ref, "commit": commit})
