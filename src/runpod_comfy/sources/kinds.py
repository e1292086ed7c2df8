"""The kinds of trees: what each implements, its source, and how a tree gets its ref and commit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

from comfy_files.progress import when_slow
from runpod_comfy.cache.tree import FetchContext, FetchedTree, Fill, TreeRequest, TreeStore
from runpod_comfy.spec.model import Tree
from runpod_comfy.spec.values import TreeKind


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


def source_of(kind: TreeKind) -> TreeSource:
    # Imported on first use: a version that only uses git needs no index client.
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


def look_up(request: TreeRequest, source: TreeSource, fetch_context: FetchContext) -> str:
    """The commit that a request means now; reports what it asks if that takes long.

    Raises as the source's `pin` does.
    """
    with when_slow(fetch_context.say, f"Looking up {request.title}"):
        return source.pin(request, fetch_context)


def settle(tree: Tree, fetch_context: FetchContext) -> Tree:
    """The tree with `ref` and `commit` filled in, as `create` writes them.

    Without a ref, a git repository gets its default branch; a distribution or a registry node gets
    its newest stable version. An existing commit is confirmed. A folder gets no commit: the lock
    pins it, so that working on it does not change the spec.
    """
    source = source_of(tree.kind)
    ref = tree.ref
    if ref is None and tree.commit is None:
        ref = source.open_ref(tree.repo, fetch_context)
    request = TreeRequest(repo=tree.repo, ref=ref, commit=tree.commit, subdir=tree.subdir)
    commit = look_up(request, source, fetch_context)
    if tree.kind == "folder":
        return tree
    return tree.model_copy(update={"ref": ref, "commit": commit})
