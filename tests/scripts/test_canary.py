"""The canary on a small index, with the real program and a core that starts in a blink."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from canary import Canary, readme_example
from runpod_comfy.lock.model import Lock
from tests.package_index import publish, serve_index
from tests.program import our_modules
from tests.specs import BARE_CORE

# Resolves, realizes and runs a version many times.
pytestmark = pytest.mark.slow

_NODE = "import alpha, beta, delta\nNODE_CLASS_MAPPINGS = {'Paint': object}\n"


class World:
    """A spec whose packages are on an index that moves, and what the canary says of it."""

    def __init__(self, folder: Path, index: Path) -> None:
        self.folder = folder
        self.index = index
        self.said: list[str] = []
        self.document: dict[str, Any] = {
            "schema_version": 2,
            "comfy": {"repo": "core"},
            "custom_nodes": [{"name": "painter", "repo": "painter"}],
        }
        versions = folder / "versions"
        for place in (versions / "core", versions / "painter"):
            place.mkdir(parents=True)
        for file in BARE_CORE.glob("*.py"):
            (versions / "core" / file.name).write_text(file.read_text())
        (versions / "core" / "requirements.txt").write_text("alpha\nbeta\ngamma\n")
        (versions / "painter" / "requirements.txt").write_text("delta\n")
        (versions / "painter" / "__init__.py").write_text(_NODE)
        (folder / "smoke.json").write_text("{}")

    def publish(self, name: str, version: str, **details: Any) -> None:
        publish(self.index, name, version, **details)

    def canary(self) -> Canary:
        """One that knows the packages that are on the index now."""
        spec = {**self.document, "version_id": "known"}
        (self.folder / "versions" / "known.json").write_text(json.dumps(spec))
        lock = self.folder / "lockfiles" / "comfy-known.lock.json"
        canary = Canary(
            folder=self.folder,
            known=Lock.model_validate_json(self.resolved(lock)).python,
            workflow=self.folder / "smoke.json",
            say=self.said.append,
        )
        self.said.clear()
        return canary

    def resolved(self, lock: Path) -> bytes:
        subprocess.run(
            [sys.executable, "-m", "runpod_comfy.cli.app", "resolve", "known"],
            cwd=self.folder,
            check=True,
        )
        return lock.read_bytes()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    index = tmp_path / "index"
    for name in list(os.environ):
        if name.startswith(("COMFY_", "UV_")):
            monkeypatch.delenv(name)
    # The program runs as a process of its own, with the modules of this one.
    monkeypatch.setenv("PYTHONPATH", our_modules()["PYTHONPATH"])
    with serve_index(index, monkeypatch):
        monkeypatch.setenv("COMFY_CACHE_ROOT", str(tmp_path / "cache"))
        world = World(tmp_path / "work", index)
        for name in ("alpha", "beta", "gamma", "delta"):
            world.publish(name, "1.0")
        yield world


def test_what_moved_and_works_is_reported(world: World) -> None:
    canary = world.canary()
    world.publish("beta", "2.0")
    assert canary.works_today("small", world.document)
    assert "Changed since the demo's lock: beta 1.0 → 2.0" in world.said
    assert not list((world.folder / "homes").iterdir())


def test_the_package_that_broke_it_is_found_among_those_that_moved(world: World) -> None:
    canary = world.canary()
    for name in ("alpha", "beta", "gamma"):
        world.publish(name, "2.0")
    world.publish("delta", "2.0", source="raise ImportError('delta is broken today')\n")
    assert not canary.works_today("small", world.document)
    assert any("delta is broken today" in said for said in world.said)
    assert world.said[-1] == (
        'small is broken by delta 1.0 → 2.0. With "constraints": ["delta==1.0"] it works'
    )


def test_a_member_of_the_torch_family_is_found_with_its_family(world: World) -> None:
    world.publish("torch", "2.11.0")
    world.publish("torchaudio", "2.11.0")
    core = world.folder / "versions" / "core" / "requirements.txt"
    core.write_text("torch==2.11.0\ntorchaudio\nalpha\nbeta\n")
    canary = world.canary()
    world.publish(
        "torchaudio",
        "2.11.1",
        requires=["torch==2.11.0"],
        source="raise OSError('libtorchaudio.so')\n",
    )
    assert not canary.works_today("small", world.document)
    assert world.said[-1].startswith(
        "small is broken by torch 2.11.0 with torchaudio 2.11.0 → "
        "torch 2.11.0 with torchaudio 2.11.1."
    )
    assert '"torchaudio==2.11.0"' in world.said[-1]


def test_packages_that_break_it_only_together_are_named_together(world: World) -> None:
    canary = world.canary()
    world.publish("alpha", "2.0", source="raise ImportError('alpha')\n")
    world.publish("delta", "2.0", source="raise ImportError('delta')\n")
    assert not canary.works_today("small", world.document)
    assert world.said[-1].startswith("small is broken by alpha 1.0 → 2.0 and delta 1.0 → 2.0.")


def test_a_fault_that_is_none_of_the_packages_is_reported_as_such(world: World) -> None:
    canary = world.canary()
    world.publish("alpha", "2.0")
    (world.folder / "versions" / "painter" / "__init__.py").write_text("import nowhere\n")
    assert not canary.works_today("small", world.document)
    assert "so the cause is none of them" in world.said[-1]


def test_a_package_that_cannot_be_resolved_any_more_is_found(world: World) -> None:
    canary = world.canary()
    for withdrawn in list(world.index.rglob("gamma-1.0*")):
        withdrawn.unlink()
    world.publish("gamma", "2.0", requires=["alpha<1"])
    assert not canary.works_today("small", world.document)
    assert any("does not work: resolve: " in said for said in world.said)


_README = """\
```bash
make run
```
```bash
runpod-comfy create mine \\
  --repo https://example.org/a@v1 \\
  --models '{"source": "x"}' # why
runpod-comfy resolve mine
```
"""


def test_the_example_of_the_readme_is_read_unchanged() -> None:
    assert readme_example(_README) == [
        *("--repo", "https://example.org/a@v1"),
        *("--models", '{"source": "x"}'),
    ]
