"""What is written of a commit: its bytes as they are, and nothing that could do harm."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError
from runpod_comfy.cache.tree import FetchContext, FetchedTree, TreeRequest
from runpod_comfy.sources.git.source import GitSource
from tests.git_repositories import GitRepository
from tests.program import write_program
from tests.runpod_comfy.sources.raw_trees import commit_raw_tree

_POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


def _fetch(
    repository: GitRepository, fetch_context: FetchContext, *, subdir: str | None = None
) -> FetchedTree:
    request = TreeRequest(repo=repository.url, ref="main", subdir=subdir)
    return GitSource().fetch(request, fetch_context)


def _use_configuration(monkeypatch: pytest.MonkeyPatch, path: Path, text: str) -> None:
    path.write_text(text)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(path))


def test_hooks_of_the_person_do_not_run(
    node_git: GitRepository,
    fetch_context: FetchContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("reference-transaction", "post-checkout", "post-index-change"):
        write_program(tmp_path / "hooks" / name, f"touch '{tmp_path}/ran'\n")
    configuration = f"[core]\n\thooksPath = {tmp_path}/hooks\n"
    _use_configuration(monkeypatch, tmp_path / "gitconfig", configuration)
    _fetch(node_git, fetch_context)
    assert not (tmp_path / "ran").exists()


def test_filters_and_line_endings_of_attributes_change_no_byte(
    node_git: GitRepository,
    fetch_context: FetchContext,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node_git.write("text.txt", "one\ntwo $Id$\n")
    node_git.write(".gitattributes", "*.txt text eol=crlf ident filter=shout export-ignore\n")
    node_git.commit("Attributes")
    configuration = (
        "[core]\n\tautocrlf = true\n"
        f'[filter "shout"]\n\tsmudge = "touch \'{tmp_path}/ran\'; tr a-z A-Z"\n\trequired = true\n'
    )
    _use_configuration(monkeypatch, tmp_path / "gitconfig", configuration)
    tree = _fetch(node_git, fetch_context)
    assert (tree.path / "text.txt").read_bytes() == b"one\ntwo $Id$\n"
    assert tree.tree_hash == "tree:" + node_git.git("rev-parse", "main^{tree}")
    assert not (tmp_path / "ran").exists()


def test_files_in_git_lfs_stay_pointers_and_are_reported(
    node_git: GitRepository, fetch_context: FetchContext, said: list[str]
) -> None:
    node_git.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")
    node_git.write("weights.bin", _POINTER)
    node_git.commit("Weights")
    tree = _fetch(node_git, fetch_context)
    assert (tree.path / "weights.bin").read_text() == _POINTER
    (warning,) = [line for line in said if "LFS" in line]
    assert "1 file in Git LFS" in warning
    assert "weights.bin" in warning


def test_empty_and_large_files_arrive_whole(
    node_git: GitRepository, fetch_context: FetchContext
) -> None:
    large = os.urandom(3 * 1024 * 1024 + 17)
    (node_git.path / "large.bin").write_bytes(large)
    node_git.write("empty.txt", "")
    node_git.commit("Sizes")
    tree = _fetch(node_git, fetch_context)
    assert (tree.path / "large.bin").read_bytes() == large
    assert (tree.path / "empty.txt").read_bytes() == b""


def test_a_link_inside_the_tree_stays_a_link(
    node_git: GitRepository, fetch_context: FetchContext
) -> None:
    (node_git.path / "bin/entry").symlink_to("../__init__.py")
    node_git.commit("Link")
    tree = _fetch(node_git, fetch_context)
    assert (tree.path / "bin/entry").readlink() == Path("../__init__.py")
    assert tree.tree_hash == "tree:" + node_git.git("rev-parse", "main^{tree}")


@pytest.mark.parametrize("target", ["../outside", "/etc/passwd", "bin/../../outside"])
def test_a_link_that_leads_out_is_refused_and_nothing_is_kept(
    node_git: GitRepository, fetch_context: FetchContext, target: str
) -> None:
    (node_git.path / "exit").symlink_to(target)
    node_git.commit("Link")
    with pytest.raises(InvalidInputError, match="symbolic link 'exit', which leads outside"):
        _fetch(node_git, fetch_context)
    assert not fetch_context.cache.trees.exists() or not list(fetch_context.cache.trees.iterdir())


@pytest.mark.parametrize("name", ["..", ".", ".git", ".GIT", "../evil", "/evil"])
def test_a_hostile_path_in_a_commit_is_refused(
    node_git: GitRepository, fetch_context: FetchContext, name: str
) -> None:
    blob = node_git.git("rev-parse", "main:__init__.py")
    commit_raw_tree(node_git, ("100644", blob, name))
    with pytest.raises(InvalidInputError, match="unsafe path"):
        _fetch(node_git, fetch_context)


def test_a_file_below_a_link_of_the_same_name_is_not_written_through_it(
    node_git: GitRepository, fetch_context: FetchContext, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    node_git.write("target", str(outside))
    node_git.commit("Where the link leads")
    link = node_git.git("rev-parse", "main:target")
    inner = node_git.git("rev-parse", "main:bin")
    commit_raw_tree(node_git, ("120000", link, "a"), ("40000", inner, "a"))
    with pytest.raises(InvalidInputError, match="two entries for 'a'"):
        _fetch(node_git, fetch_context)
    assert not list(outside.iterdir())


def test_two_files_of_one_name_are_refused(
    node_git: GitRepository, fetch_context: FetchContext
) -> None:
    blob = node_git.git("rev-parse", "main:__init__.py")
    commit_raw_tree(node_git, ("100644", blob, "a.py"), ("100755", blob, "a.py"))
    with pytest.raises(InvalidInputError, match=r"two entries for 'a\.py'"):
        _fetch(node_git, fetch_context)


def test_a_folder_of_a_commit_is_a_tree_by_itself(
    node_git: GitRepository, fetch_context: FetchContext
) -> None:
    node_git.write("packs/one/node.py", "ONE = 1\n")
    node_git.write("packs/two/node.py", "TWO = 2\n")
    node_git.commit("Packs")
    tree = _fetch(node_git, fetch_context, subdir="packs/two")
    assert [path.name for path in tree.path.iterdir()] == ["node.py"]
    assert tree.tree_hash == "tree:" + node_git.git("rev-parse", "main:packs/two")


def test_a_python_file_of_a_commit_is_a_tree_with_that_file_as_its_package(
    node_git: GitRepository, fetch_context: FetchContext
) -> None:
    node_git.commit("Files", {"packs/two.py": "TWO = 2\n", "packs/three.txt": "", "four.py/a": ""})
    tree = _fetch(node_git, fetch_context, subdir="packs/two.py")
    assert [(path.name, path.read_text()) for path in tree.path.iterdir()] == [
        ("__init__.py", "TWO = 2\n")
    ]
    with pytest.raises(InvalidInputError, match=r"no folder 'packs/three\.txt'"):
        _fetch(node_git, fetch_context, subdir="packs/three.txt")
    folder = _fetch(node_git, fetch_context, subdir="four.py")
    assert [path.name for path in folder.path.iterdir()] == ["a"]


def test_a_link_from_a_folder_to_the_rest_of_its_repository_is_refused(
    node_git: GitRepository, fetch_context: FetchContext
) -> None:
    (node_git.path / "bin/entry").symlink_to("../__init__.py")
    node_git.commit("Link")
    with pytest.raises(InvalidInputError, match="leads outside the tree"):
        _fetch(node_git, fetch_context, subdir="bin")


def test_a_folder_that_a_commit_does_not_have_is_reported_with_those_it_has(
    node_git: GitRepository, fetch_context: FetchContext
) -> None:
    with pytest.raises(InvalidInputError, match="no folder 'src'") as raised:
        _fetch(node_git, fetch_context, subdir="src")
    assert "bin" in raised.value.remedy
