"""Which source handles which kind of tree, and the pin of a tree whose ref was left open."""

from __future__ import annotations

from runpod_comfy.cache.tree import FetchContext, TreeRequest, TreeSource
from runpod_comfy.spec.model import Tree
from runpod_comfy.spec.text import TreeKind


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
        from runpod_comfy.sources.archive.source import ArchiveSource

        return ArchiveSource()
    from runpod_comfy.sources.registry.source import RegistrySource

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
        ref = _open_ref(tree, fetch_context)
    request = TreeRequest(repo=tree.repo, ref=ref, commit=tree.commit, subdir=tree.subdir)
    commit = source.pin(request, fetch_context)
    if tree.kind == "folder":
        return tree
    return tree.model_copy(update={"ref": ref, "commit": commit})


def _open_ref(tree: Tree, fetch_context: FetchContext) -> str | None:
    if tree.kind == "git":
        from runpod_comfy.sources.git.refs import default_branch

        return default_branch(tree.repo, fetch_context)
    if tree.kind == "pypi":
        from runpod_comfy.sources.pypi import newest_version

        return newest_version(tree.repo, fetch_context)
    if tree.kind == "registry":
        from runpod_comfy.sources.registry.source import newest_version as newest_of_node

        return newest_of_node(tree.repo, fetch_context)
    return None
