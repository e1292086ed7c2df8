"""Submodules: fetched with their parent, from addresses that are read as hostile text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError, UnavailableError
from runpod_comfy.cache.tree import FetchContext, FetchedSubmodule, TreeRequest
from runpod_comfy.sources.git.checkout import find_submodule_url
from runpod_comfy.sources.git.repository import GitRepository as CachedRepository
from runpod_comfy.sources.git.source import GitSource
from tests.git_repositories import GitRepository, new_repository
from tests.runpod_comfy.sources.raw_trees import commit_raw_tree


def _gitmodules(url: str) -> str:
    return f'[submodule "part"]\n\tpath = part\n\turl = {url}\n'


def _add_submodule(repository: GitRepository, commit: str, path: str = "part") -> None:
    repository.git("add", "--all")
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
    repository.git("commit", "--quiet", "--message", "With a part")


def _url_in(repository: GitRepository, parent: str, url: str) -> str | None:
    repository.write(".gitmodules", _gitmodules(url))
    commit = repository.commit("Modules")
    cached = CachedRepository(repo=parent, path=repository.path / ".git")
    return find_submodule_url(cached, commit, "part")


def test_a_submodule_with_a_relative_address_arrives_with_its_parent(
    node_git_with_submodule: GitRepository, fetch_context: FetchContext, tmp_path: Path
) -> None:
    request = TreeRequest(repo=node_git_with_submodule.url, ref="main")
    tree = GitSource().fetch(request, fetch_context)
    part = GitRepository(path=tmp_path / "part")
    assert (tree.path / "vendored/part/part.py").read_text() == "PART = 1\n"
    assert tree.submodules == (
        FetchedSubmodule(path="vendored/part", repo=part.url, commit=part.git("rev-parse", "HEAD")),
    )
    assert tree.epoch == 1_700_000_500


def test_the_hash_of_a_tree_covers_the_files_of_its_submodules(
    node_git_with_submodule: GitRepository, fetch_context: FetchContext, tmp_path: Path
) -> None:
    request = TreeRequest(repo=node_git_with_submodule.url, ref="main")
    tree = GitSource().fetch(request, fetch_context)
    flat = new_repository(tmp_path / "flat")
    work_tree = node_git_with_submodule.path
    for path in ("__init__.py", ".gitmodules", "vendored/part/part.py"):
        flat.write(path, (work_tree / path).read_text())
    flat.git("add", "--all")
    assert tree.tree_hash == "tree:" + flat.git("write-tree")


def test_a_tree_with_a_submodule_needs_no_network_again(
    node_git_with_submodule: GitRepository, fetch_context: FetchContext, tmp_path: Path
) -> None:
    request = TreeRequest(
        repo=node_git_with_submodule.url, commit=node_git_with_submodule.git("rev-parse", "main")
    )
    first = GitSource().fetch(request, fetch_context)
    (tmp_path / "part").rename(tmp_path / "gone")
    assert GitSource().fetch(request, replace(fetch_context, offline=True)) == first


def test_a_submodule_of_a_folder_is_found_from_the_top_of_the_repository(
    node_git_with_submodule: GitRepository, fetch_context: FetchContext
) -> None:
    request = TreeRequest(repo=node_git_with_submodule.url, ref="main", subdir="vendored")
    tree = GitSource().fetch(request, fetch_context)
    assert (tree.path / "part/part.py").is_file()
    assert [item.path for item in tree.submodules] == ["part"]


def test_a_submodule_of_a_submodule_is_named_from_the_top(
    node_git_with_submodule: GitRepository, fetch_context: FetchContext, tmp_path: Path
) -> None:
    outer = new_repository(tmp_path / "outer")
    outer.write(".gitmodules", _gitmodules("../Node-With-Part"))
    _add_submodule(outer, node_git_with_submodule.git("rev-parse", "HEAD"))
    tree = GitSource().fetch(TreeRequest(repo=outer.url, ref="main"), fetch_context)
    assert (tree.path / "part/vendored/part/part.py").is_file()
    assert [item.path for item in tree.submodules] == ["part", "part/vendored/part"]


def test_submodules_without_end_are_refused(fetch_context: FetchContext, tmp_path: Path) -> None:
    commit = new_repository(tmp_path / "0").commit("Innermost")
    for number in range(1, 11):
        repository = new_repository(tmp_path / str(number))
        repository.write(".gitmodules", _gitmodules(f"../{number - 1}"))
        _add_submodule(repository, commit)
        commit = repository.git("rev-parse", "HEAD")
    with pytest.raises(InvalidInputError, match="nests its submodules deeper"):
        GitSource().fetch(TreeRequest(repo=repository.url, ref="main"), fetch_context)


def test_a_submodule_commit_that_is_not_there_leaves_no_tree(
    node_git: GitRepository, fetch_context: FetchContext, tmp_path: Path
) -> None:
    node_git.write(".gitmodules", _gitmodules(node_git.url))
    _add_submodule(node_git, "1" * 40)
    with pytest.raises(UnavailableError, match=f"no commit {'1' * 40}"):
        GitSource().fetch(TreeRequest(repo=node_git.url, ref="main"), fetch_context)
    assert not fetch_context.cache.trees.exists() or not list(fetch_context.cache.trees.iterdir())


def test_a_submodule_without_an_address_is_left_out_and_reported_of(
    node_git: GitRepository, fetch_context: FetchContext, said: list[str]
) -> None:
    _add_submodule(node_git, "1" * 40)
    tree = GitSource().fetch(TreeRequest(repo=node_git.url, ref="main"), fetch_context)
    assert tree.submodules == ()
    assert any("has no URL for its submodule part" in line for line in said)


def test_a_file_where_a_submodule_goes_is_refused(
    node_git: GitRepository, fetch_context: FetchContext
) -> None:
    blob = node_git.git("rev-parse", "main:__init__.py")
    commit = node_git.git("rev-parse", "main")
    node_git.write(".gitmodules", _gitmodules(node_git.url))
    node_git.commit("Modules")
    modules = node_git.git("rev-parse", "main:.gitmodules")
    commit_raw_tree(
        node_git,
        ("100644", modules, ".gitmodules"),
        ("100644", blob, "part"),
        ("160000", commit, "part"),
    )
    with pytest.raises(InvalidInputError, match="two entries for 'part'"):
        GitSource().fetch(TreeRequest(repo=node_git.url, ref="main"), fetch_context)


@pytest.mark.parametrize(
    ("parent", "url", "expected"),
    [
        ("https://a.example/o/r.git", "../part.git", "https://a.example/o/part.git"),
        ("https://a.example/o/r/", "../../p/part", "https://a.example/p/part"),
        ("https://a.example/o/r", "./part", "https://a.example/o/r/part"),
        ("git@a.example:o/r.git", "../part.git", "git@a.example:o/part.git"),
        ("git@a.example:r.git", "../part.git", "git@a.example:part.git"),
        ("https://a.example/o/r", "ssh://git@b.example/p.git", "ssh://git@b.example/p.git"),
        ("file:///repos/r", "/repos/part", "file:///repos/part"),
    ],
)
def test_an_address_is_counted_from_the_parent_as_git_does(
    node_git: GitRepository, parent: str, url: str, expected: str
) -> None:
    assert _url_in(node_git, parent, url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "ext::sh -c 'touch /x'",
        "--upload-pack=touch",
        "-u./payload",
        "file:///etc/secret.git",
        "/etc/secret.git",
        "../../../../../../etc",
        "https://me:hunter2@a.example/p.git",
        "pypi://part",
        "https:///no-host",
        "ssh://-oProxyCommand=touch/p",
    ],
)
def test_a_hostile_address_is_refused_without_its_password(
    node_git: GitRepository, url: str
) -> None:
    with pytest.raises(InvalidInputError, match="part") as raised:
        _url_in(node_git, "https://a.example/o/r.git", f'"{url}"')
    assert "hunter2" not in raised.value.message


def test_an_error_in_a_submodule_names_its_path(
    node_git: GitRepository, fetch_context: FetchContext, tmp_path: Path
) -> None:
    node_git.write(".gitmodules", _gitmodules((tmp_path / "nowhere").as_uri()))
    _add_submodule(node_git, "1" * 40)
    with pytest.raises(UnavailableError, match="^submodule part: .*nowhere") as raised:
        GitSource().fetch(TreeRequest(repo=node_git.url, ref="main"), fetch_context)
    assert "git ls-remote" in raised.value.remedy
