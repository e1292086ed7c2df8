"""Git repositories as trees, with real repositories."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_errors import (
    InvalidInputError,
    MismatchError,
    OperationFailedError,
    UnavailableError,
)
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext, TreeRequest
from runpod_comfy.sources.git.source import GitSource, RemoteRefs, whole_commit
from tests.git_repositories import GitRepository, new_repository
from tests.http_server import serve
from tests.runpod_comfy.sources.fetching import path_with_git, start_fetch


@pytest.fixture
def source() -> GitSource:
    return GitSource()


def _tree_hash(repository: GitRepository, revision: str) -> str:
    return "tree:" + repository.git("rev-parse", f"{revision}^{{tree}}")


def _names_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_an_annotated_tag_pins_the_commit_and_not_the_tag(
    source: GitSource, node_git: GitRepository, fetch_context: FetchContext
) -> None:
    node_git.git("tag", "--annotate", "--message", "one", "v1")
    commit = source.pin(TreeRequest(repo=node_git.url, ref="v1"), fetch_context)
    assert commit == node_git.git("rev-parse", "HEAD")
    assert commit != node_git.git("rev-parse", "v1")


def test_a_lightweight_tag_pins_its_commit_when_the_branch_has_moved_on(
    source: GitSource, node_git: GitRepository, fetch_context: FetchContext
) -> None:
    first = node_git.git("rev-parse", "HEAD")
    node_git.git("tag", "v1")
    node_git.commit("Second")
    assert source.pin(TreeRequest(repo=node_git.url, ref="v1"), fetch_context) == first


def test_a_branch_with_a_slash_pins_its_tip(
    source: GitSource, node_git: GitRepository, fetch_context: FetchContext
) -> None:
    node_git.git("switch", "--quiet", "--create", "fix/colours")
    tip = node_git.commit("Fixed")
    node_git.git("switch", "--quiet", "main")
    assert source.pin(TreeRequest(repo=node_git.url, ref="fix/colours"), fetch_context) == tip


def test_a_tag_goes_before_a_branch_of_the_same_name(
    source: GitSource, node_git: GitRepository, fetch_context: FetchContext
) -> None:
    tagged = node_git.git("rev-parse", "HEAD")
    node_git.git("tag", "same")
    node_git.git("branch", "same")
    node_git.git("switch", "--quiet", "same", "--")
    node_git.commit("Only on the branch")
    assert source.pin(TreeRequest(repo=node_git.url, ref="same"), fetch_context) == tagged


def test_without_a_ref_the_default_branch_is_pinned(
    source: GitSource, node_git: GitRepository, fetch_context: FetchContext
) -> None:
    node_git.git("branch", "aaa-not-this-one")
    tip = node_git.commit("Tip of main")
    assert source.pin(TreeRequest(repo=node_git.url), fetch_context) == tip


def test_a_pull_request_pins_its_head(
    source: GitSource, node_git: GitRepository, fetch_context: FetchContext
) -> None:
    main = node_git.git("rev-parse", "HEAD")
    head = node_git.commit("Proposed")
    node_git.git("update-ref", "refs/pull/7/head", head)
    node_git.git("reset", "--quiet", "--hard", main)
    assert source.pin(TreeRequest(repo=node_git.url, ref="pull/7/head"), fetch_context) == head


def test_a_commit_as_ref_is_its_own_pin_also_offline(
    source: GitSource, node_git: GitRepository, fetch_context: FetchContext
) -> None:
    commit = node_git.git("rev-parse", "HEAD")
    request = TreeRequest(repo=node_git.url, ref=commit.upper())
    assert source.pin(request, replace(fetch_context, offline=True)) == commit


def test_an_unknown_ref_is_reported_with_the_nearest_names(
    source: GitSource, node_git: GitRepository, fetch_context: FetchContext
) -> None:
    node_git.git("tag", "v0.3.64")
    with pytest.raises(UnavailableError, match=r"no branch or tag 'v0\.3\.65'") as raised:
        source.pin(TreeRequest(repo=node_git.url, ref="v0.3.65"), fetch_context)
    assert "v0.3.64" in raised.value.remedy
    assert "main" not in raised.value.remedy


@pytest.mark.parametrize("digits", [7, 12, 39])
def test_a_short_commit_becomes_the_whole_one_which_is_reported(
    source: GitSource, node_git: GitRepository, fetch_context: FetchContext, digits: int
) -> None:
    commit = node_git.git("rev-parse", "HEAD")
    node_git.commit("A newer one, so that no ref has that commit")
    said: list[str] = []
    request = TreeRequest(repo=node_git.url, ref=commit[:digits])
    assert source.pin(request, replace(fetch_context, say=said.append)) == commit
    assert said[-1] == f"'{commit[:digits]}' of {node_git.url} is the commit {commit}"


def test_a_short_commit_with_its_whole_one_is_confirmed(
    source: GitSource, node_git: GitRepository, fetch_context: FetchContext
) -> None:
    commit = node_git.git("rev-parse", "HEAD")
    request = TreeRequest(repo=node_git.url, ref=commit[:8], commit=commit)
    assert source.pin(request, fetch_context) == commit


def test_a_branch_named_like_a_short_commit_is_the_branch(
    source: GitSource, node_git: GitRepository, fetch_context: FetchContext
) -> None:
    first = node_git.git("rev-parse", "HEAD")
    tip = node_git.commit("Tip")
    node_git.git("branch", first[:7])
    assert source.pin(TreeRequest(repo=node_git.url, ref=first[:7]), fetch_context) == tip


def test_a_short_commit_that_no_history_has_is_unknown(
    source: GitSource, node_git: GitRepository, fetch_context: FetchContext
) -> None:
    with pytest.raises(UnavailableError, match="no commit in the history of one, '0000000'"):
        source.pin(TreeRequest(repo=node_git.url, ref="0000000"), fetch_context)


def test_a_short_commit_with_two_meanings_is_refused_with_both(
    source: GitSource, node_git: GitRepository, fetch_context: FetchContext
) -> None:
    refs = RemoteRefs(
        repo=node_git.url,
        commits={"refs/heads/a": "1234567" + "a" * 33, "refs/heads/b": "1234567" + "b" * 33},
        head=None,
    )
    with pytest.raises(InvalidInputError, match="2 commits that start with '1234567'") as raised:
        whole_commit(refs, "1234567", fetch_context)
    assert "1234567aaa" in raised.value.remedy
    assert "1234567bbb" in raised.value.remedy


def test_an_empty_repository_is_called_empty(
    source: GitSource, tmp_path: Path, fetch_context: FetchContext
) -> None:
    empty = new_repository(tmp_path / "empty")
    with pytest.raises(UnavailableError, match="is empty"):
        source.pin(TreeRequest(repo=empty.url, ref="main"), fetch_context)


def test_a_repository_that_is_not_there_is_unavailable(
    source: GitSource, tmp_path: Path, fetch_context: FetchContext
) -> None:
    url = (tmp_path / "nowhere").as_uri()
    with pytest.raises(UnavailableError, match="nowhere") as raised:
        source.pin(TreeRequest(repo=url, ref="main"), fetch_context)
    assert f"git ls-remote {url}" in raised.value.remedy


def test_refs_cannot_be_looked_up_offline(
    source: GitSource, node_git: GitRepository, fetch_context: FetchContext
) -> None:
    with pytest.raises(UnavailableError, match="offline"):
        source.pin(TreeRequest(repo=node_git.url, ref="main"), replace(fetch_context, offline=True))


def test_a_commit_from_the_history_of_its_ref_is_confirmed(
    source: GitSource, node_git: GitRepository, fetch_context: FetchContext
) -> None:
    first = node_git.git("rev-parse", "HEAD")
    node_git.commit("Second")
    request = TreeRequest(repo=node_git.url, ref="main", commit=first)
    assert source.pin(request, fetch_context) == first


def test_a_commit_that_its_ref_never_had_is_a_mismatch(
    source: GitSource, node_git: GitRepository, fetch_context: FetchContext
) -> None:
    main = node_git.git("rev-parse", "HEAD")
    node_git.git("switch", "--quiet", "--create", "elsewhere")
    foreign = node_git.commit("Elsewhere")
    with pytest.raises(MismatchError, match="not in the history of 'main'") as raised:
        source.pin(TreeRequest(repo=node_git.url, ref="main", commit=foreign), fetch_context)
    assert main in raised.value.remedy


def test_a_ref_and_a_commit_that_are_two_commits_are_a_mismatch(
    source: GitSource, node_git: GitRepository, fetch_context: FetchContext
) -> None:
    first = node_git.git("rev-parse", "HEAD")
    second = node_git.commit("Second")
    with pytest.raises(MismatchError, match="are different commits"):
        source.pin(TreeRequest(repo=node_git.url, ref=first, commit=second), fetch_context)


def test_a_fetched_commit_has_the_files_the_hash_and_the_time_that_git_says(
    source: GitSource, node_git: GitRepository, fetch_context: FetchContext
) -> None:
    commit = node_git.git("rev-parse", "HEAD")
    node_git.write("later.py", "")
    node_git.commit("Later", seconds=1_800_000_000)
    tree = source.fetch(TreeRequest(repo=node_git.url, commit=commit), fetch_context)
    assert tree.tree_hash == _tree_hash(node_git, commit)
    assert tree.epoch == 1_700_000_000
    assert _names_below(tree.path) == ["__init__.py", "bin"]
    assert os.access(tree.path / "bin/tool.sh", os.X_OK)
    assert not os.access(tree.path / "__init__.py", os.X_OK)


def test_a_fetch_that_lasts_tells_its_bytes(
    source: GitSource,
    node_git: GitRepository,
    fetch_context: FetchContext,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("comfy_files.progress.SLOW_S", -1.0)
    # git counts bytes where there are more objects than it unpacks one by one.
    node_git.commit("Many", {f"{number}.txt": f"{number}\n" for number in range(150)})
    source.fetch(TreeRequest(repo=node_git.url, ref="main"), fetch_context)
    (told,) = [line for line in said if line.startswith(f"  {node_git.url}: ")]
    assert told.split(": ")[1].endswith((" bytes", " kB", "/s"))


def test_an_open_ref_is_pinned_and_fetched(
    source: GitSource, node_git: GitRepository, fetch_context: FetchContext
) -> None:
    tree = source.fetch(TreeRequest(repo=node_git.url, ref="main"), fetch_context)
    assert tree.path.name.endswith("@" + node_git.git("rev-parse", "main"))


def test_a_bare_repository_is_fetched_like_any_other(
    source: GitSource, node_git: GitRepository, tmp_path: Path, fetch_context: FetchContext
) -> None:
    bare = tmp_path / "bare.git"
    node_git.git("clone", "--quiet", "--bare", str(node_git.path), str(bare))
    tree = source.fetch(TreeRequest(repo=bare.as_uri(), ref="main"), fetch_context)
    assert tree.tree_hash == _tree_hash(node_git, "main")


def test_a_commit_comes_from_a_plain_web_server_too(
    source: GitSource, node_git: GitRepository, tmp_path: Path, fetch_context: FetchContext
) -> None:
    first = node_git.git("rev-parse", "HEAD")
    node_git.commit("Second")
    node_git.git("clone", "--quiet", "--bare", str(node_git.path), str(tmp_path / "web/node.git"))
    node_git.git("--git-dir", str(tmp_path / "web/node.git"), "update-server-info")
    with serve(tmp_path / "web") as url:
        request = TreeRequest(repo=f"{url}/node.git", commit=first)
        assert source.fetch(request, fetch_context).tree_hash == _tree_hash(node_git, first)


def test_a_commit_that_the_repository_does_not_have_is_unavailable(
    source: GitSource, node_git: GitRepository, fetch_context: FetchContext
) -> None:
    unknown = "0123456789" * 4
    with pytest.raises(UnavailableError, match=f"has no commit {unknown}"):
        source.fetch(TreeRequest(repo=node_git.url, commit=unknown), fetch_context)
    assert _names_below(fetch_context.cache.trees) == []


def test_a_fetched_commit_needs_neither_network_nor_repository_again(
    source: GitSource, node_git: GitRepository, fetch_context: FetchContext
) -> None:
    request = TreeRequest(repo=node_git.url, commit=node_git.git("rev-parse", "HEAD"))
    first = source.fetch(request, fetch_context)
    node_git.path.rename(node_git.path.with_name("gone"))
    assert source.fetch(request, replace(fetch_context, offline=True)) == first


def test_another_folder_of_a_fetched_commit_comes_offline_from_the_cached_repository(
    source: GitSource, node_git: GitRepository, fetch_context: FetchContext
) -> None:
    request = TreeRequest(repo=node_git.url, commit=node_git.git("rev-parse", "HEAD"))
    whole = source.fetch(request, fetch_context)
    inner = source.fetch(replace(request, subdir="bin"), replace(fetch_context, offline=True))
    assert _names_below(inner.path) == ["tool.sh"]
    assert inner.tree_hash == "tree:" + node_git.git("rev-parse", "HEAD:bin")
    assert inner.path != whole.path


def test_a_commit_that_was_never_fetched_is_unavailable_offline(
    source: GitSource, node_git: GitRepository, fetch_context: FetchContext
) -> None:
    request = TreeRequest(repo=node_git.url, commit=node_git.git("rev-parse", "HEAD"))
    with pytest.raises(UnavailableError, match="not in the cache") as raised:
        source.fetch(request, replace(fetch_context, offline=True))
    assert "--offline" in raised.value.remedy
    assert _names_below(fetch_context.cache.git) == []


def test_what_is_in_a_repository_and_a_ref_is_never_an_option_of_git(
    source: GitSource, tmp_path: Path, node_git: GitRepository, fetch_context: FetchContext
) -> None:
    mark = tmp_path / "mark"
    hostile = f"--upload-pack=touch {mark};"
    commit = node_git.git("rev-parse", "HEAD")
    for request, taken_for in (
        (TreeRequest(repo=hostile, ref="main"), "strange pathname"),
        (TreeRequest(repo=hostile, commit=commit), "strange pathname"),
        (TreeRequest(repo=node_git.url, ref=hostile), "no branch or tag"),
    ):
        with pytest.raises(UnavailableError, match=taken_for):
            source.fetch(request, fetch_context)
    assert not mark.exists()


def test_git_starts_no_remote_helper_even_where_the_person_allows_them(
    source: GitSource,
    tmp_path: Path,
    fetch_context: FetchContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "ext:file")
    mark = tmp_path / "mark"
    repo = f"ext::sh -c touch% {mark}"
    for request in (TreeRequest(repo=repo, ref="main"), TreeRequest(repo=repo, commit="0" * 40)):
        with pytest.raises(UnavailableError, match="transport 'ext' not allowed"):
            source.fetch(request, fetch_context)
    assert not mark.exists()


def test_a_git_directory_in_the_environment_is_ignored(
    source: GitSource,
    node_git: GitRepository,
    tmp_path: Path,
    fetch_context: FetchContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(tmp_path / "foreign-objects"))
    tree = source.fetch(TreeRequest(repo=node_git.url, ref="main"), fetch_context)
    monkeypatch.delenv("GIT_OBJECT_DIRECTORY")
    assert tree.tree_hash == _tree_hash(node_git, "main")
    assert not (tmp_path / "foreign-objects").exists()


def test_two_processes_that_fetch_one_commit_at_once_share_one_whole_entry(
    source: GitSource,
    node_git: GitRepository,
    tmp_path: Path,
    cache: Cache,
    fetch_context: FetchContext,
) -> None:
    request = TreeRequest(repo=node_git.url, commit=node_git.git("rev-parse", "HEAD"))
    # Both are past the question whether the entry is there when the first of them makes it.
    wait_for_the_other = (
        'touch "$HERE/ready-$$"\ntries=0\n'
        'while [ "$(ls "$HERE" | grep -c ready)" -lt 2 ] && [ "$tries" -lt 1200 ]; do\n'
        'sleep 0.05; tries=$((tries + 1))\ndone\nexec "$GIT" "$@"'
    )
    path = path_with_git(tmp_path / "program", "cat-file", wait_for_the_other)
    children = [start_fetch(request, cache, path=path) for _ in range(2)]
    outputs = [child.communicate(timeout=120)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert outputs == [_tree_hash(node_git, "HEAD")] * 2
    assert len(list((tmp_path / "program").glob("ready-*"))) == 2
    entry = source.fetch(request, replace(fetch_context, offline=True)).path
    assert _names_below(cache.trees) == [entry.name, f"{entry.name}.json"]
    assert not [name for name in _names_below(cache.tmp) if name.startswith("tree-")]


@pytest.mark.parametrize(
    ("command", "body"),
    [
        ("fetch", 'touch "$HERE/here"\nexec sleep 600'),
        # The first file arrives, the second never does.
        (
            "cat-file",
            'read -r first\nprintf \'%s\\n\' "$first" | "$GIT" "$@"\n'
            'touch "$HERE/here"\nexec sleep 600',
        ),
    ],
)
def test_a_fetch_killed_in_the_middle_leaves_no_entry_and_the_next_one_succeeds(
    source: GitSource,
    node_git: GitRepository,
    tmp_path: Path,
    cache: Cache,
    fetch_context: FetchContext,
    command: str,
    body: str,
) -> None:
    request = TreeRequest(repo=node_git.url, commit=node_git.git("rev-parse", "HEAD"))
    path = path_with_git(tmp_path / "program", command, body)
    child = start_fetch(request, cache, path=path)
    deadline = time.monotonic() + 120
    while not (tmp_path / "program/here").exists():
        assert child.poll() is None, "the fetch ended by itself"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(child.pid, signal.SIGKILL)
    child.communicate()
    assert _names_below(cache.trees) == []
    tree = source.fetch(request, fetch_context)
    assert tree.tree_hash == _tree_hash(node_git, "HEAD")


def test_locks_that_a_killed_git_left_do_not_stop_the_next_fetch(
    source: GitSource, node_git: GitRepository, cache: Cache, fetch_context: FetchContext
) -> None:
    source.fetch(TreeRequest(repo=node_git.url, ref="main"), fetch_context)
    (bare,) = cache.git.iterdir()
    second = node_git.commit("Second")
    (bare / "shallow.lock").touch()
    (bare / "config.lock").touch()
    (bare / f"refs/kept/{second}.lock").touch()
    tree = source.fetch(TreeRequest(repo=node_git.url, commit=second), fetch_context)
    assert tree.tree_hash == _tree_hash(node_git, second)


def test_a_password_in_a_url_is_not_shown(source: GitSource, fetch_context: FetchContext) -> None:
    with pytest.raises(UnavailableError) as raised:
        source.pin(
            TreeRequest(repo="http://me:hunter2@127.0.0.1:1/x.git", ref="main"), fetch_context
        )
    assert "hunter2" not in f"{raised.value.message} {raised.value.remedy}"
    assert "127.0.0.1" in raised.value.message


def test_a_cache_that_cannot_be_written_is_reported_in_plain_words(
    source: GitSource, node_git: GitRepository, fetch_context: FetchContext, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    spoilt = replace(fetch_context, cache=Cache(root=tmp_path / "file"))
    first = node_git.git("rev-parse", "HEAD")
    node_git.commit("Second")
    request = TreeRequest(repo=node_git.url, ref="main", commit=first)
    for verb in (source.pin, source.fetch):
        with pytest.raises(OperationFailedError, match="cache .* could not be written"):
            verb(request, spoilt)
