"""What many tests share: a cache of their own, and real repositories."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext
from tests.comfy_releases import ComfyRepository, comfy_repository, downloads_folder
from tests.git_repositories import GitRepository, new_repository
from tests.package_index import without_pip
from tests.slow import is_slow
from tests.verified_homes import watch_realize

watch_realize()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what is slow by rule, before `-m` chooses."""
    for item in items:
        if is_slow(item.path, getattr(item, "fixturenames", ())):
            item.add_marker("slow")


@pytest.fixture(scope="session", autouse=True)
def _signals_reach_what_tests_start() -> None:
    """Under nohup SIGHUP is ignored, behind a shell's `&` SIGINT, and programs inherit that; a
    handler they do not inherit."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.fixture(scope="session", autouse=True)
def _loopback_is_reached_without_a_proxy() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("NO_PROXY", "no_proxy"):
            patch.setenv(name, "127.0.0.1", prepend=",")
        yield


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    """An empty cache."""
    return Cache(root=tmp_path / "cache")


@pytest.fixture
def pip_knows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of the machine's pip reaches a test."""
    without_pip(monkeypatch)


@pytest.fixture
def index(tmp_path: Path, pip_knows_nothing: None) -> Path:
    """The folder of an index; its files go into `files/`, its pages into `simple/`."""
    root = tmp_path / "index"
    (root / "files").mkdir(parents=True)
    (root / "simple").mkdir()
    return root


@pytest.fixture
def said() -> list[str]:
    """The progress that `fetch_context` reported."""
    return []


@pytest.fixture
def fetch_context(cache: Cache, tmp_path: Path, said: list[str]) -> FetchContext:
    """Sources work with the empty cache; relative paths are from `tmp_path`."""
    return FetchContext(cache=cache, base_dir=tmp_path, say=said.append)


@pytest.fixture(scope="session")
def downloads() -> Path:
    """A folder that outlives the tests, for what costs a download."""
    return downloads_folder()


@pytest.fixture(scope="session")
def comfy_git(downloads: Path) -> ComfyRepository:
    """Two real releases of ComfyUI as two commits."""
    return comfy_repository(downloads)


@pytest.fixture
def node_git(tmp_path: Path) -> GitRepository:
    """A small custom node on the branch `main`."""
    repository = new_repository(tmp_path / "Small-Node")
    repository.write("__init__.py", "NODE_CLASS_MAPPINGS = {}\n")
    repository.write("bin/tool.sh", "#!/bin/sh\n").chmod(0o755)
    repository.commit("A small node")
    return repository


@pytest.fixture
def node_git_with_submodule(tmp_path: Path) -> GitRepository:
    """A custom node with a submodule at `vendored/part`, whose address is relative."""
    part = new_repository(tmp_path / "part")
    part.write("part.py", "PART = 1\n")
    part.commit("A part", seconds=1_700_000_500)
    repository = new_repository(tmp_path / "Node-With-Part")
    repository.write("__init__.py", "from .vendored.part import part\n")
    repository.git(
        *("-c", "protocol.file.allow=always", "submodule", "--quiet", "add"),
        *("../part", "vendored/part"),
    )
    repository.commit("A node with a part")
    return repository
