"""Two real ComfyUI releases, pinned and fetched out of one real git repository."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from runpod_comfy.sources.cache import Cache
from runpod_comfy.sources.git import GitSource
from runpod_comfy.sources.tree import Surroundings, TreeRequest
from tests.integration.releases import git, make_core_repository

TAGS = ("v0.3.52", "v0.3.75")


@pytest.fixture(scope="module")
def core(place: Path) -> Path:
    """The repository, whose older tag is annotated and whose newer one is not."""
    folder = place / "ComfyUI"
    make_core_repository(folder, Cache.from_environment())
    return folder


@pytest.fixture(scope="module")
def surroundings(place: Path) -> Surroundings:
    """An empty cache of git repositories and trees."""
    return Surroundings(cache=Cache(root=place / "cache"), base_dir=place)


@pytest.mark.parametrize("tag", TAGS)
def test_a_tag_pins_the_commit_of_its_release(
    core: Path, surroundings: Surroundings, tag: str
) -> None:
    pin = GitSource().pin(TreeRequest(repo=core.as_uri(), ref=tag), surroundings)
    assert pin == git(core, "rev-parse", f"{tag}^{{commit}}")


@pytest.mark.parametrize("tag", TAGS)
def test_the_fetched_release_has_the_tree_hash_that_git_gives_its_tag(
    core: Path, surroundings: Surroundings, tag: str
) -> None:
    tree = GitSource().fetch(TreeRequest(repo=core.as_uri(), ref=tag), surroundings)
    assert tree.tree_hash == "tree:" + git(core, "rev-parse", f"{tag}^{{tree}}")
    assert tag.removeprefix("v") in (tree.path / "comfyui_version.py").read_text()
    assert tree.epoch == int(git(core, "show", "--no-patch", "--format=%ct", f"{tag}^{{commit}}"))


def test_both_releases_lie_side_by_side_and_come_again_without_the_repository(
    core: Path, surroundings: Surroundings
) -> None:
    source = GitSource()
    commits = {tag: git(core, "rev-parse", f"{tag}^{{commit}}") for tag in TAGS}
    requests = [TreeRequest(repo=core.as_uri(), ref=tag, commit=commits[tag]) for tag in TAGS]
    trees = [source.fetch(request, surroundings) for request in requests]
    assert trees[0].path != trees[1].path
    assert trees[0].tree_hash != trees[1].tree_hash
    core.rename(core.with_name("away"))
    try:
        offline = replace(surroundings, offline=True)
        assert [source.fetch(request, offline) for request in requests] == trees
    finally:
        core.with_name("away").rename(core)


def test_the_older_release_is_confirmed_as_history_of_the_branch(
    core: Path, surroundings: Surroundings
) -> None:
    older = git(core, "rev-parse", "v0.3.52^{commit}")
    request = TreeRequest(repo=core.as_uri(), ref="master", commit=older)
    assert GitSource().pin(request, surroundings) == older
