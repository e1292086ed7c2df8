"""Trees of every kind on their way from a command line into a lock, over real HTTP and real git."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_errors import MismatchError
from runpod_comfy.cache.tree import TreeRequest
from runpod_comfy.lock.model import Lock
from runpod_comfy.sources.kinds import settle, source_of
from runpod_comfy.spec.create import create_spec
from runpod_comfy.spec.write import write_spec
from tests.comfy_registry import RegistryDouble, comfy_registry, node_zip
from tests.git_repositories import GitRepository
from tests.http_server import serve
from tests.runpod_comfy.lock.conftest import Workspace

# Resolves a version in each test.
pytestmark = pytest.mark.slow


@pytest.fixture
def registry(index: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RegistryDouble]:
    with comfy_registry() as double:
        monkeypatch.setenv("COMFY_REGISTRY_URL", double.url)
        yield double


def _write_archive(path: Path, requirement: str = "gamma") -> str:
    """A node's archive as GitHub makes it; returns its sha256."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, text in (("__init__.py", ""), ("requirements.txt", f"{requirement}\n")):
            info = tarfile.TarInfo(f"Brush-main/{name}")
            info.size, info.mtime = len(text), 1_700_000_000
            archive.addfile(info, io.BytesIO(text.encode()))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_create_and_resolve_take_an_archive_and_a_node_of_the_registry(
    tmp_path: Path, workspace: Workspace, registry: RegistryDouble
) -> None:
    shelf = tmp_path / "shelf"
    archive_sha256 = _write_archive(shelf / "owner/Brush/archive/refs/heads/main.tar.gz")
    packed = node_zip({"__init__.py": "", "requirements.txt": "linux-only\n", "js/a.js": ""})
    registry.publish("painter", "1.9.0", node_zip({"__init__.py": ""}))
    registry.publish("painter", "1.10.0", packed)
    path = workspace.spec_path
    with serve(shelf) as url:
        spec = create_spec(
            "small",
            repo="versions/core",
            nodes=[f"{url}/owner/Brush/archive/refs/heads/main.tar.gz", "comfy://painter"],
            models=[],
            models_root=None,
            auto_checksum=False,
            output=path,
            working_dir=tmp_path,
            settle=lambda trees: [settle(tree, workspace.fetch_context) for tree in trees],
            say=workspace.said.append,
        )
        assert [(node.name, node.ref, node.commit) for node in spec.custom_nodes] == [
            ("Brush", None, f"sha256:{archive_sha256}"),
            ("painter", "1.10.0", f"sha256:{hashlib.sha256(packed).hexdigest()}"),
        ]
        write_spec(spec, path, force=False)
        workspace.document = json.loads(path.read_text())
        lock = workspace.resolve()
        again = workspace.resolve(elsewhere=True)
    assert lock.to_bytes() == again.to_bytes()
    assert lock.epoch == 1714979290
    requested = {item.name: item.requested_by for item in lock.python.wheels}
    assert list(requested["gamma"]) == ["node:Brush"]
    assert list(requested["linux-only"]) == ["node:painter"]
    assert workspace.warnings == []
    offline = replace(workspace.fetch_context, offline=True)
    for node in lock.custom_nodes:
        request = TreeRequest(repo=node.repo, ref=node.ref, commit=node.commit, subdir=node.subdir)
        fetched = source_of(node.kind).fetch(request, offline)
        assert fetched.tree_hash == node.tree_hash
        assert (fetched.path / "__init__.py").is_file()
    assert workspace.resolve(lock, offline=True) == lock


def test_an_archive_that_gives_other_bytes_than_the_lock_knows_is_refused(
    workspace: Workspace, tmp_path: Path
) -> None:
    _write_archive(tmp_path / "shelf" / "brush.tgz")
    with serve(tmp_path / "shelf") as url:
        workspace.document["custom_nodes"] = [{"name": "brush", "repo": f"{url}/brush.tgz"}]
        lock = workspace.resolve()
        _write_archive(tmp_path / "shelf" / "brush.tgz", "alpha")
        with pytest.raises(MismatchError, match=f"{url}/brush.tgz") as caught:
            workspace.resolve(lock, elsewhere=True)
    assert caught.value.exit_code == 4
    assert "--upgrade" in caught.value.remedy


def test_a_commit_of_another_version_of_a_registry_node_is_refused(
    workspace: Workspace, registry: RegistryDouble
) -> None:
    packed = node_zip({"__init__.py": ""})
    registry.publish("painter", "1.0.0", packed)
    registry.publish("painter", "2.0.0", node_zip({"__init__.py": "VERSION = 2\n"}))
    commit = f"sha256:{hashlib.sha256(packed).hexdigest()}"
    node = {"name": "painter", "repo": "comfy://painter", "ref": "1.0.0", "commit": commit}
    workspace.document["custom_nodes"] = [node]
    lock = workspace.resolve()
    node["ref"] = "2.0.0"
    with pytest.raises(MismatchError, match=r"node painter: comfy://painter@2\.0\.0 has sha256"):
        workspace.resolve(lock)


def test_a_commit_of_an_archive_at_another_url_is_refused(
    workspace: Workspace, tmp_path: Path
) -> None:
    commit = f"sha256:{_write_archive(tmp_path / 'shelf/one.tgz')}"
    _write_archive(tmp_path / "shelf/two.tgz", "alpha")
    with serve(tmp_path / "shelf") as url:
        node = {"name": "brush", "repo": f"{url}/one.tgz", "commit": commit}
        workspace.document["custom_nodes"] = [node]
        lock = workspace.resolve()
        node["repo"] = f"{url}/two.tgz"
        with pytest.raises(MismatchError, match=f"{url}/two.tgz has sha256"):
            workspace.resolve(lock)


@pytest.fixture
def pinned_to_a_fork(workspace: Workspace, index: Path, node_git: GitRepository) -> GitRepository:
    """The spec's node is pinned to a commit that `main`, which it names, never had."""
    node_git.git("switch", "--quiet", "--create", "elsewhere")
    foreign = node_git.commit("Elsewhere")
    node = {"name": "brush", "repo": node_git.url, "ref": "main", "commit": foreign}
    workspace.document["custom_nodes"] = [node]
    return node_git


def test_a_commit_that_its_ref_never_had_is_reported_until_the_lock_knows_it(
    workspace: Workspace, pinned_to_a_fork: GitRepository
) -> None:
    lock = workspace.resolve()
    (warning,) = workspace.warnings
    assert "not in the history of 'main'" in warning
    assert lock.custom_nodes[0].commit in warning
    workspace.said.clear()
    assert workspace.resolve(lock) == lock
    assert workspace.warnings == []


def test_offline_nothing_is_said_of_where_a_commit_comes_from(
    workspace: Workspace, pinned_to_a_fork: GitRepository
) -> None:
    lock = workspace.resolve()
    workspace.said.clear()
    again = workspace.resolve(offline=True)
    assert again.custom_nodes == lock.custom_nodes
    assert workspace.warnings == []


def test_a_ref_that_cannot_be_looked_up_stops_no_resolve(
    workspace: Workspace, pinned_to_a_fork: GitRepository
) -> None:
    workspace.document["custom_nodes"][0]["ref"] = "gone"
    workspace.resolve()
    (warning,) = workspace.warnings
    assert "no branch or tag 'gone'" in warning


def test_a_commit_of_its_refs_history_is_nothing_to_tell(
    workspace: Workspace, pinned_to_a_fork: GitRepository
) -> None:
    pinned: Lock | None = None
    for commit in ("main", "elsewhere~1"):
        node = workspace.document["custom_nodes"][0]
        node["ref"] = "elsewhere" if "elsewhere" in commit else "main"
        node["commit"] = pinned_to_a_fork.git("rev-parse", commit)
        pinned = workspace.resolve()
        assert pinned.custom_nodes[0].commit == node["commit"]
    assert workspace.warnings == []


def test_requirements_above_the_subdir_of_a_node_are_reported_once_and_kept_in_mind(
    workspace: Workspace, node_git: GitRepository
) -> None:
    node_git.commit(
        "Packs",
        {
            "requirements.txt": "alpha\n",
            "packs/one/__init__.py": "",
            "packs/two/__init__.py": "",
            "packs/two/requirements.txt": "gamma\n",
        },
    )
    workspace.write("folder/requirements.txt", "alpha\n")
    workspace.write("folder/inner/__init__.py", "")
    workspace.document["custom_nodes"] = [
        {"name": "one", **node_git.at(), "subdir": "packs/one"},
        {"name": "two", **node_git.at(), "subdir": "packs/two"},
        {"name": "inner", "repo": "folder", "subdir": "inner"},
    ]
    lock = workspace.resolve()
    above = {node.name: node.requirements_above for node in lock.custom_nodes}
    assert above == {"one": "requirements.txt", "two": None, "inner": "requirements.txt"}
    assert (
        "Warning: requirements.txt of one lies above its subdir (packs/one) and is not read"
        in workspace.warnings
    )
    workspace.said.clear()
    assert workspace.resolve(lock, offline=True).custom_nodes == lock.custom_nodes
    assert [line for line in workspace.warnings if " of one " in line] == []
    assert workspace.resolve(elsewhere=True) == lock
