"""The tree hash is git's own."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError
from comfy_home.tree_hash import tree_hash
from runpod_comfy.cache.tree_files import tree_state
from tests.comfy_releases import ComfyRepository
from tests.git_repositories import GitRepository, new_repository


@pytest.fixture
def repository(tmp_path: Path) -> GitRepository:
    """Files whose order, modes and kinds are all different for git."""
    repository = new_repository(tmp_path / "repository")
    # Git sorts `a` the folder after `a.txt` and `a-b`, since it counts as `a/`.
    for path in ("a/inner.txt", "a.txt", "a-b", "a0", "Ä/ö.txt", "deep/er/est"):
        repository.write(path, path)
    repository.write("run.sh", "#!/bin/sh\n").chmod(0o755)
    (repository.path / "link").symlink_to("a/inner.txt")
    (repository.path / "dangling").symlink_to("nowhere")
    (repository.path / "empty").mkdir()
    repository.write("nothing", "")
    return repository


def test_it_is_what_git_write_tree_gives(repository: GitRepository) -> None:
    repository.git("add", "--all")
    assert tree_hash(repository.path) == f"tree:{repository.git('write-tree')}"


def test_it_is_that_of_a_real_release(comfy_git: ComfyRepository, tmp_path: Path) -> None:
    work_tree = new_repository(tmp_path / "clone")
    work_tree.git("fetch", "--quiet", comfy_git.url, "refs/tags/v0.3.52")
    work_tree.git("checkout", "--quiet", "FETCH_HEAD")
    expected = work_tree.git("rev-parse", "HEAD^{tree}")
    assert tree_hash(work_tree.path) == f"tree:{expected}"


def test_what_tools_leave_behind_does_not_count(repository: GitRepository) -> None:
    before = tree_hash(repository.path)
    repository.write("a/__pycache__/inner.cpython-311.pyc", "x")
    repository.write("a/module.pyc", "x")
    repository.write("a/.DS_Store", "x")
    repository.write("sub/.git/config", "x")
    assert tree_hash(repository.path) == before


@pytest.mark.parametrize("change", ["content", "mode", "name", "link"])
def test_every_change_counts(repository: GitRepository, change: str) -> None:
    before = tree_hash(repository.path)
    if change == "content":
        repository.write("a.txt", "other")
    elif change == "mode":
        (repository.path / "run.sh").chmod(0o644)
    elif change == "name":
        (repository.path / "a0").rename(repository.path / "a1")
    else:
        (repository.path / "dangling").unlink()
        (repository.path / "dangling").symlink_to("elsewhere")
    assert tree_hash(repository.path) != before


def test_times_do_not_count(repository: GitRepository) -> None:
    before = tree_hash(repository.path)
    os.utime(repository.path / "a.txt", (1, 1))
    assert tree_hash(repository.path) == before


def test_an_empty_folder_has_gits_empty_tree(tmp_path: Path) -> None:
    assert tree_hash(tmp_path) == "tree:4b825dc642cb6eb9a060e54bf8d69288fbee4904"


def test_a_pipe_is_not_content(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInputError, match="neither a file, a folder nor a link"):
        tree_hash(tmp_path)


def _swap(file: Path) -> None:
    """Other bytes of the same number, with the times of before."""
    times = file.stat()
    file.write_text(file.read_text().swapcase())
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def _replace_link(folder: Path) -> None:
    (folder / "link").unlink()
    (folder / "link").symlink_to("a0")


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: _swap(folder / "deep/er/est"),
        lambda folder: (folder / "a/new").touch(),
        lambda folder: (folder / "a0").unlink(),
        lambda folder: (folder / "a0").rename(folder / "a1"),
        lambda folder: (folder / "run.sh").chmod(0o644),
        _replace_link,
    ],
)
def test_a_change_of_content_is_another_state(
    repository: GitRepository, change: Callable[[Path], object]
) -> None:
    folder = repository.path
    state, content = tree_state(folder), tree_hash(folder)
    assert tree_state(folder) == state
    change(folder)
    assert tree_hash(folder) != content
    assert tree_state(folder).digest != state.digest


def test_what_is_not_part_of_a_tree_has_no_part_in_its_state(repository: GitRepository) -> None:
    state = tree_state(repository.path)
    (repository.path / "a/__pycache__").mkdir()
    (repository.path / "a/__pycache__/x.pyc").touch()
    (repository.path / ".git/new").touch()
    assert tree_state(repository.path).digest == state.digest


def test_a_state_is_settled_once_a_change_would_get_another_time(
    repository: GitRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not tree_state(repository.path).is_settled
    later = time.time_ns() + 3_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: later)
    assert tree_state(repository.path).is_settled
