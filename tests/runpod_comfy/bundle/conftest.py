"""A small version with one of everything, and its bundle."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runpod_comfy.bundle.create import BundleRequest, create_bundle
from runpod_comfy.bundle.format import BundleSummary
from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import FetchContext
from runpod_comfy.lock.model import Distribution, Lock, PythonLock
from runpod_comfy.spec.load import parse_spec, spec_digest
from tests.locks import bare_lock, locked_model, locked_node, locked_tree, locked_wheels

PLATFORM = "linux-x86_64"
SPEC = """\
{
    "schema_version": 2,
    "version_id": "small",
    "comfy": {"repo": "core"},
    "custom_nodes": [{"name": "painter", "repo": "painter"}],
    "models": [{"name": "a.bin", "source": "a.bin", "target_subdir": "loras"}],
    "env": {},
    "options": {"python": "3.11", "platforms": ["linux-x86_64", "macos-arm64"]}
}
"""


@dataclass
class Place:
    """A machine with the version's parts in `folder`, and with a cache."""

    folder: Path
    cache: Cache
    said: list[str] = field(default_factory=list)

    @property
    def fetch_context(self) -> FetchContext:
        return FetchContext(cache=self.cache, base_dir=self.folder, say=self.said.append)

    def write(self, path: str, content: bytes) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    def wheels(self, name: str, *tags: str) -> Distribution:
        (self.folder / "wheels").mkdir(exist_ok=True)
        return locked_wheels(self.folder / "wheels", name, "1.0", *tags)

    def lock(self) -> Lock:
        tags = ("cp311-cp311-manylinux_2_28_x86_64", "cp311-cp311-macosx_11_0_arm64")
        return bare_lock(
            spec_digest=spec_digest(parse_spec(SPEC, where="here")),
            comfy=locked_tree(self.folder / "core"),
            custom_nodes=[locked_node(self.folder / "painter")],
            python=PythonLock(
                version="3.11",
                platforms=["linux-x86_64", "macos-arm64"],
                torch=[self.wheels("torch")],
                wheels=[self.wheels("alpha", *tags)],
            ),
            models=[locked_model(self.folder / "a.bin", "loras/a.bin")],
        )

    def create(
        self,
        target: Path,
        *,
        platform: str = PLATFORM,
        models: bool = True,
        lock: Lock | None = None,
        handler: PythonLock | None = None,
    ) -> BundleSummary:
        request = BundleRequest(
            lock=lock or self.lock(),
            spec=SPEC.encode(),
            platform=platform,
            models=models,
            handler=handler,
        )
        return create_bundle(request, target, self.fetch_context)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """pip's only source of packages is the folder `wheels`."""
    place = Place(folder=tmp_path / "here", cache=Cache(root=tmp_path / "cache-here"))
    place.write("core/main.py", b"print('core')\n" * 100)
    script = place.write("core/bin/tool.sh", b"#!/bin/sh\n")
    script.chmod(0o755)
    (place.folder / "core/link.py").symlink_to("main.py")
    place.write("core/" + "long-name/" * 15 + "é.py", b"LONG = 1\n")
    place.write("painter/__init__.py", b"NODE_CLASS_MAPPINGS = {}\n")
    place.write("a.bin", b"weights " * 1000)
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(place.folder / "wheels"))
    return place


@pytest.fixture
def bundle(here: Place, tmp_path: Path) -> Path:
    """The version's bundle for PLATFORM."""
    path = tmp_path / "small.bundle"
    here.create(path)
    return path


@pytest.fixture
def away(tmp_path: Path) -> Cache:
    """The empty cache of another machine."""
    return Cache(root=tmp_path / "cache-away")
