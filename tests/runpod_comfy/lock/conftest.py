"""A version whose core and node are folders, and the index that their requirements come from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfy_errors import ComfyError
from comfy_home.lock_bytes import LOCK_VERSION
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.lock.model import Lock, PythonLock
from runpod_comfy.lock.python.pins import lock_python
from runpod_comfy.lock.resolve import resolve
from runpod_comfy.spec.load import load_spec
from runpod_comfy.spec.model import Options
from tests.model_hosts.civitai import CivitaiDouble, civitai
from tests.model_hosts.gcs import GcsDouble, gcs
from tests.model_hosts.hub import HubDouble, hub
from tests.model_hosts.s3 import S3Double, s3
from tests.package_index import publish, serve_index
from tests.runpod_comfy.lock.model_shelf import Shelf, model_shelf


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of an index that pip is configured to use; put wheels in `files/`."""
    root = tmp_path / "index"
    publish(root, "alpha", "1.0", requires=["gamma"])
    publish(root, "alpha", "2.0", requires=["gamma"])
    publish(root, "gamma", "1.0")
    publish(root, "linux-only", "1.0")
    with serve_index(root, monkeypatch):
        yield root


@pytest.fixture
def fetch_context(tmp_path: Path) -> FetchContext:
    return FetchContext(cache=Cache(root=tmp_path / "cache"), base_dir=tmp_path / "versions")


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    # A server that does not answer is asked several times.
    monkeypatch.setattr("comfy_http.retries._FIRST_WAIT_S", 0.01)
    with model_shelf(tmp_path / "shelf") as made:
        yield made


@pytest.fixture
def hub_here(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubDouble]:
    """The Hub that this machine asks, without a token."""
    with hub() as double:
        monkeypatch.setenv("HF_ENDPOINT", double.url)
        monkeypatch.setenv("HF_TOKEN_PATH", str(shelf.folder / "no token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield double


@pytest.fixture
def civitai_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[CivitaiDouble]:
    """The Civitai that this machine asks, without a token."""
    with civitai() as double:
        monkeypatch.setenv("CIVITAI_ENDPOINT", double.url)
        monkeypatch.delenv("CIVITAI_TOKEN", raising=False)
        yield double


@pytest.fixture
def gcs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsDouble]:
    """The Google Cloud Storage that this machine asks, without a login."""
    with gcs(tmp_path / "gcs") as double:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", double.url)
        monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
        yield double


@pytest.fixture
def s3_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Double]:
    """The S3 server that this machine asks, with a login that may read everything."""
    with s3() as double:
        for name, value in double.variables.items():
            monkeypatch.setenv(name, value)
        yield double


TREE_HASH = f"tree:{'1' * 40}"


def lock_document(**changes: Any) -> dict[str, Any]:
    """The smallest lock, as a lock file holds it."""
    return {
        "lock_version": LOCK_VERSION,
        "version_id": "small",
        "spec_digest": "sha256:" + "0" * 64,
        "comfy": {"repo": "core", "commit": TREE_HASH, "tree_hash": TREE_HASH},
        "python": {"version": "3.11", "platforms": ["linux-x86_64"]},
        "epoch": 315532800,
    } | changes


class Workspace:
    """A `versions/` folder with one spec that a test may change."""

    def __init__(self, folder: Path, fetch_context: FetchContext) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.fetch_context = replace(fetch_context, say=self.said.append)
        self.spec_path = folder / "small.json"
        self.document: dict[str, Any] = {
            "schema_version": 2,
            "version_id": "small",
            "comfy": {"repo": "core"},
            "custom_nodes": [{"name": "painter", "repo": "painter"}],
            "models": [],
            "env": {},
            "options": {},
        }
        self.write("core/main.py", "print('core')\n")
        self.write("core/folder_paths.py", "models_dir = 'models'\n")
        self.write("core/requirements.txt", "alpha\n")
        self.write("painter/__init__.py", "NODE_CLASS_MAPPINGS = {}\n")

    def write(self, path: str, text: str) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def save(self) -> Path:
        self.spec_path.write_text(json.dumps(self.document))
        return self.spec_path

    @property
    def warnings(self) -> list[str]:
        return [line for line in self.said if line.startswith("Warning:")]

    def resolve(
        self, previous: Lock | None = None, *, elsewhere: bool = False, offline: bool = False
    ) -> Lock:
        """The lock of the spec as it is now.

        Elsewhere the caches are empty, so that no remembered answer can stand in for a kept pin.
        """
        fetch_context = replace(self.fetch_context, offline=offline)
        if elsewhere:
            root = fetch_context.cache.root.with_name("another-cache")
            fetch_context = replace(fetch_context, cache=Cache(root=root))
        loaded = load_spec(self.save())
        return resolve(loaded, fetch_context=fetch_context, previous=previous)


@pytest.fixture
def workspace(tmp_path: Path, fetch_context: FetchContext, index: Path) -> Workspace:
    return Workspace(tmp_path / "versions", fetch_context)


class Bench:
    """Trees whose requirements a test writes, and the index that they are solved on."""

    def __init__(self, folder: Path, index: Path) -> None:
        self.folder = folder
        self.index = index
        self.said: list[str] = []
        self.fetch_context = FetchContext(
            cache=Cache(root=folder / "cache"), base_dir=folder, say=self.said.append
        )

    def release(self, name: str, *versions: str, **details: Any) -> None:
        for version in versions:
            publish(self.index, name, version, **details)

    def edit_page(self, name: str, edit: Callable[[str], str]) -> None:
        page = self.index / "simple" / name / "index.html"
        page.write_text(edit(page.read_text()))

    def lock(
        self,
        core: str,
        previous: PythonLock | None = None,
        options: dict[str, Any] | None = None,
        **nodes: str,
    ) -> PythonLock:
        trees = {"core": core} | {f"node:{name}": text for name, text in nodes.items()}
        for tree, text in trees.items():
            file = self.folder / tree.replace(":", "-") / "requirements.txt"
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        return lock_python(
            [(tree, self.folder / tree.replace(":", "-")) for tree in trees],
            options=Options.model_validate(options or {}),
            previous=previous,
            fetch_context=self.fetch_context,
        )

    def error(self, core: str, **rest: Any) -> ComfyError:
        with pytest.raises(ComfyError) as caught:
            self.lock(core, **rest)
        return caught.value


@pytest.fixture
def bench(tmp_path: Path, index: Path) -> Bench:
    (tmp_path / "trees").mkdir()
    return Bench(tmp_path / "trees", index)
