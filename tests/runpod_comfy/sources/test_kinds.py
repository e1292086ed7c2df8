"""Each kind has its source."""

from __future__ import annotations

from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.sources.archive import ArchiveSource
from runpod_comfy.sources.folder import FolderSource
from runpod_comfy.sources.git.source import GitSource
from runpod_comfy.sources.kinds import settle, source_of
from runpod_comfy.sources.pypi import PypiSource
from runpod_comfy.sources.registry import RegistrySource
from runpod_comfy.spec.model import Tree
from tests.git_repositories import GitRepository


def test_each_kind_has_its_source() -> None:
    assert isinstance(source_of("git"), GitSource)
    assert isinstance(source_of("pypi"), PypiSource)
    assert isinstance(source_of("folder"), FolderSource)
    assert isinstance(source_of("archive"), ArchiveSource)
    assert isinstance(source_of("registry"), RegistrySource)


def test_a_detached_head_is_settled_without_a_ref(
    node_git: GitRepository, fetch_context: FetchContext
) -> None:
    commit = node_git.git("rev-parse", "HEAD")
    node_git.git("checkout", "--quiet", "--detach")
    settled = settle(Tree(repo=node_git.url), fetch_context)
    assert (settled.ref, settled.commit) == (None, commit)
