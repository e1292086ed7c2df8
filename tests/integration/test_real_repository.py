"""Two real ComfyUI releases, pinned and fetched out of one real git repository."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext, TreeRequest
from runpod_comfy.sources.git.source import GitSource
from tests.comfy_releases import ComfyRepository

TAGS = ("v0.3.52", "v0.3.75")


@pytest.fixture(scope="module")
def fetch_context(tmp_path_factory: pytest.TempPathFactory) -> FetchContext:
    """An empty cache of git repositories and trees."""
    folder = tmp_path_factory.mktemp("fetch_context")
    return FetchContext(cache=Cache(root=folder / "cache"), base_dir=folder)


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_pins_the_commit_of_its_release(
    comfy_git: ComfyRepository, fetch_context: FetchContext, tag: str
) -> None:
    pin = GitSource().pin(TreeRequest(repo=comfy_git.url, ref=tag), fetch_context)
    assert pin == comfy_git.commits[tag]


@pytest.mark.parametrize("tag", TAGS)
def test_the_fetched_release_has_the_tree_hash_that_git_gives_its_tag(
    comfy_git: ComfyRepository, fetch_context: FetchContext, tag: str
) -> None:
    tree = GitSource().fetch(TreeRequest(repo=comfy_git.url, ref=tag), fetch_context)
    assert tree.tree_hash == "tree:" + comfy_git.git("rev-parse", f"{tag}^{{tree}}")
    assert tag.removeprefix("v") in (tree.path / "comfyui_version.py").read_text()
    dated = comfy_git.git("show", "--no-patch", "--format=%ct", f"{tag}^{{commit}}")
    assert tree.epoch == int(dated)


def test_both_releases_lie_side_by_side_and_come_again_from_the_cache(
    comfy_git: ComfyRepository, fetch_context: FetchContext
) -> None:
    source = GitSource()
    requests = [
        TreeRequest(repo=comfy_git.url, ref=tag, commit=comfy_git.commits[tag]) for tag in TAGS
    ]
    trees = [source.fetch(request, fetch_context) for request in requests]
    assert trees[0].path != trees[1].path
    assert trees[0].tree_hash != trees[1].tree_hash
    offline = replace(fetch_context, offline=True)
    assert [source.fetch(request, offline) for request in requests] == trees


def test_the_older_release_is_confirmed_as_history_of_the_branch(
    comfy_git: ComfyRepository, fetch_context: FetchContext
) -> None:
    older = comfy_git.commits["v0.3.52"]
    request = TreeRequest(repo=comfy_git.url, ref="main", commit=older)
    assert GitSource().pin(request, fetch_context) == older
