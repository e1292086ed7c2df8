"""What `resolve --check` finds, kind by kind, against real servers and repositories."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.lock.drift.check import look_at_distributions
from runpod_comfy.lock.drift.tree import Answer, LockedPlace
from runpod_comfy.lock.model import LockedTree, Submodule
from runpod_comfy.spec.model import Tree
from tests.comfy_registry import DELETED, FLAGGED, comfy_registry, node_zip
from tests.git_repositories import GitRepository
from tests.http_server import serve
from tests.locks import bare_lock, locked_wheels, python_lock
from tests.package_index import write_index

_HASH = f"tree:{'1' * 40}"


def _look(
    fetch_context: FetchContext,
    repo: str,
    commit: str,
    *,
    ref: str | None = None,
    asked: Tree | None = None,
    submodules: Sequence[Submodule] = (),
) -> Answer:
    tree = LockedTree(
        repo=repo, ref=ref, commit=commit, tree_hash=_HASH, submodules=list(submodules)
    )
    return LockedPlace(
        part="nodes",
        name="painter",
        tree=tree,
        asked=asked,
        version_id="small",
        fetch_context=fetch_context,
    ).look()


def _message(answer: Answer) -> str:
    (finding,) = answer.moved
    assert finding.remedy
    return finding.message


pytestmark = pytest.mark.usefixtures("pip_knows_nothing")


def test_a_repository_without_a_ref_is_followed_at_its_default_branch(
    node_git: GitRepository, fetch_context: FetchContext
) -> None:
    old = node_git.git("rev-parse", "HEAD")
    assert _look(fetch_context, node_git.url, old) == Answer()
    new = node_git.commit("Newer")
    assert new in _message(_look(fetch_context, node_git.url, old))


def test_a_whole_commit_of_the_spec_does_not_move(
    node_git: GitRepository, fetch_context: FetchContext
) -> None:
    old = node_git.git("rev-parse", "HEAD")
    node_git.commit("Newer")
    asked = Tree(repo=node_git.url, commit=old)
    assert _look(fetch_context, node_git.url, old, asked=asked) == Answer()
    assert _look(fetch_context, node_git.url, old, ref=old) == Answer()
    assert _look(fetch_context, node_git.url, old, ref=old[:9]) == Answer()


def test_a_commit_that_the_repository_never_had_is_gone(
    node_git: GitRepository, fetch_context: FetchContext
) -> None:
    lost = "0123456789" * 4
    asked = Tree(repo=node_git.url, commit=lost)
    answer = _look(fetch_context, node_git.url, lost, asked=asked)
    assert f"no longer has the commit {lost}" in _message(answer)


def test_a_tag_that_moved_is_called_out(
    node_git: GitRepository, fetch_context: FetchContext
) -> None:
    old = node_git.git("rev-parse", "HEAD")
    node_git.commit("Newer")
    node_git.git("tag", "v1")
    asked = Tree(repo=node_git.url, ref="v1", commit=old)
    (finding,) = _look(fetch_context, node_git.url, old, ref="v1", asked=asked).moved
    assert finding.remedy.startswith("A tag should not move")


def test_the_repository_of_a_submodule_may_be_gone(
    node_git_with_submodule: GitRepository, fetch_context: FetchContext
) -> None:
    node = node_git_with_submodule
    part = node.path.parent / "part"
    module = Submodule(
        path="vendored/part",
        repo=part.as_uri(),
        commit=node.git("rev-parse", "HEAD:vendored/part"),
    )
    commit = node.git("rev-parse", "HEAD")
    assert _look(fetch_context, node.url, commit, submodules=[module]) == Answer()
    shutil.rmtree(part)
    answer = _look(fetch_context, node.url, commit, submodules=[module])
    assert "submodule vendored/part" in _message(answer)


def test_a_repository_that_a_web_server_does_not_know_is_gone(
    tmp_path: Path, fetch_context: FetchContext
) -> None:
    with serve(tmp_path) as url:
        answer = _look(fetch_context, f"{url}/node.git", "1" * 40, ref="main")
    assert "is gone, or you have no access" in _message(answer)


def test_a_git_server_that_does_not_answer_is_not_a_repository_that_is_gone(
    fetch_context: FetchContext,
) -> None:
    answer = _look(fetch_context, "http://127.0.0.1:9/node.git", "1" * 40, ref="main")
    assert answer.moved == ()
    assert len(answer.unanswered) == 1


def test_an_archive_is_there_gone_or_unknown(tmp_path: Path, fetch_context: FetchContext) -> None:
    (tmp_path / "web").mkdir()
    archive = tmp_path / "web" / "node.zip"
    archive.write_bytes(node_zip({"__init__.py": ""}))
    pin = f"sha256:{hashlib.sha256(archive.read_bytes()).hexdigest()}"
    with serve(tmp_path / "web") as url:
        assert _look(fetch_context, f"{url}/node.zip", pin) == Answer()
        archive.unlink()
        assert "is gone" in _message(_look(fetch_context, f"{url}/node.zip", pin))
    assert _look(fetch_context, "http://127.0.0.1:9/node.zip", pin).unanswered


def test_a_version_of_the_registry_is_there_flagged_deleted_or_gone(
    fetch_context: FetchContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = node_zip({"__init__.py": ""})
    pin = f"sha256:{hashlib.sha256(archive).hexdigest()}"

    def look(version: str, node: str = "painter") -> Answer:
        return _look(fetch_context, f"comfy://{node}", pin, ref=version)

    with comfy_registry() as registry:
        monkeypatch.setenv("COMFY_REGISTRY_URL", registry.url)
        registry.publish("painter", "1.0.0", archive)
        registry.publish("painter", "1.1.0", archive, status=FLAGGED)
        registry.publish("painter", "1.2.0", archive, status=DELETED)
        assert look("1.0.0") == Answer()
        assert "flagged" in _message(look("1.1.0"))
        assert "deleted" in _message(look("1.2.0"))
        assert "no version 9.0.0" in _message(look("9.0.0"))
        assert "no node 'other'" in _message(look("1.0.0", "other"))
    assert look("1.0.0").unanswered


def test_a_distribution_as_a_tree_is_there_changed_or_gone(
    index: Path, fetch_context: FetchContext
) -> None:
    wheel = index / "files" / "alpha-1.0-py3-none-any.whl"
    pin = f"sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}"

    def look(name: str, version: str) -> Answer:
        return _look(fetch_context, f"pypi://{name}", pin, ref=version)

    assert look("alpha", "1.0") == Answer()
    assert "no file of pypi://alpha@2.0" in _message(look("alpha", "2.0"))
    assert "no longer has the version 3.0" in _message(look("alpha", "3.0"))
    assert "no longer has any version" in _message(look("nobody", "1.0"))


def test_torch_of_an_index_of_its_own_is_looked_for_there(index: Path, tmp_path: Path) -> None:
    other = tmp_path / "torch-index"
    (other / "files").mkdir(parents=True)
    torch = locked_wheels(other / "files", "torch", "2.11.0+cpu")
    write_index(other)
    with serve(other) as url:
        python = python_lock(torch_index=f"{url}/simple/", torch=[torch], wheels=[])
        lock = bare_lock(python=python)
        assert look_at_distributions([torch], lock) == [Answer()]
        shutil.rmtree(other / "simple" / "torch")
        (answer,) = look_at_distributions([torch], lock)
    assert "--upgrade torch" in answer.moved[0].remedy
