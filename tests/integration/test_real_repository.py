"""Two real ComfyUI releases, pinned and fetched out of one real git repository."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runpod_comfy.sources.cache import Cache
from runpod_comfy.sources.git import GitSource
from runpod_comfy.sources.tree import Surroundings, TreeRequest
from tests.comfy_releases import ComfyRepository
from tests.git_repositories import GitRepository

TAGS = ("v0.3.52", "v0.3.75")


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Surroundings:
    """An empty cache of git repositories and trees."""
    folder = tmp_path_factory.mktemp("surroundings")
    return Surroundings(cache=Cache(root=folder / "cache"), base_dir=folder)


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_pins_the_commit_of_its_release(
    comfy_git: ComfyRepository, surroundings: Surroundings, tag: str
) -> None:
    pin = GitSource().pin(TreeRequest(repo=comfy_git.url, ref=tag), surroundings)
    assert pin == comfy_git.commits[tag]


@pytest.mark.parametrize("tag", TAGS)
def test_the_fetched_release_has_the_tree_hash_that_git_gives_its_tag(
    comfy_git: ComfyRepository, surroundings: Surroundings, tag: str
) -> None:
    repository = GitRepository(path=comfy_git.path)
    tree = GitSource().fetch(TreeRequest(repo=comfy_git.url, ref=tag), surroundings)
    assert tree.tree_hash == "tree:" + repository.git("rev-parse", f"{tag}^{{tree}}")
    assert tag.removeprefix("v") in (tree.path / "comfyui_version.py").read_text()
    dated = repository.git("show", "--no-patch", "--format=%ct", f"{tag}^{{commit}}")
    assert tree.epoch == int(dated)


def test_both_releases_lie_side_by_side_and_come_again_from_the_cache(
    comfy_git: ComfyRepository, surroundings: Surroundings
) -> None:
    source = GitSource()
    requests = [
        TreeRequest(repo=comfy_git.url, ref=tag, commit=comfy_git.commits[tag]) for tag in TAGS
    ]
    trees = [source.fetch(request, surroundings) for request in requests]
    assert trees[0].path != trees[1].path
    assert trees[0].tree_hash != trees[1].tree_hash
    offline = replace(surroundings, offline=True)
    assert [source.fetch(request, offline) for request in requests] == trees


def test_the_older_release_is_confirmed_as_history_of_the_branch(
    comfy_git: ComfyRepository, surroundings: Surroundings
) -> None:
    older = comfy_git.commits["v0.3.52"]
    request = TreeRequest(repo=comfy_git.url, ref="main", commit=older)
    assert GitSource().pin(request, surroundings) == older
