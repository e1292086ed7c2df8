"""Each kind has its source, or a sentence."""

from __future__ import annotations

import pytest

from comfy_errors import InvalidInputError
from runpod_comfy.sources.folder import FolderSource
from runpod_comfy.sources.git import GitSource
from runpod_comfy.sources.kinds import settle, source_of
from runpod_comfy.sources.pypi import PypiSource
from runpod_comfy.sources.tree import Surroundings
from runpod_comfy.spec.model import Tree
from runpod_comfy.spec.text import TreeKind
from tests.git_repositories import GitRepository


def test_each_kind_has_its_source() -> None:
    assert isinstance(source_of("git"), GitSource)
    assert isinstance(source_of("pypi"), PypiSource)
    assert isinstance(source_of("folder"), FolderSource)


@pytest.mark.parametrize("kind", ["archive", "registry"])
def test_a_kind_that_is_not_supported_yet_says_which_are(kind: TreeKind) -> None:
    with pytest.raises(InvalidInputError, match="is not supported yet") as caught:
        source_of(kind)
    assert "git repository" in caught.value.remedy


def test_a_detached_head_is_settled_without_a_ref(
    node_git: GitRepository, surroundings: Surroundings
) -> None:
    commit = node_git.git("rev-parse", "HEAD")
    node_git.git("checkout", "--quiet", "--detach")
    settled = settle(Tree(repo=node_git.url), surroundings)
    assert (settled.ref, settled.commit) == (None, commit)
