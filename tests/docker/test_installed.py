"""The wheel alone, in an environment of its own, used from an empty folder outside the clone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from uv import find_uv_bin

from runpod_comfy.sources.index.pip_settings import (
    read_pip_settings,
    uv_arguments,
    uv_environment,
)
from tests.git_repositories import new_repository
from tests.graphs import saving, write_graph
from tests.program import ROOT, our_modules
from tests.real_packages import held
from tests.specs import FIXTURE_CORE, core_repository

TAG = "runpod-comfy-test:installed"


@dataclass(frozen=True, kw_only=True)
class Installed:
    """The installed program in a user's own folder."""

    program: Path
    folder: Path

    def __call__(self, *arguments: str | Path) -> dict[str, Any]:
        """The JSON document of a command that succeeds."""
        done = subprocess.run(
            [self.program, *arguments, "--json"],
            cwd=self.folder,
            env={name: text for name, text in os.environ.items() if name != "PYTHONPATH"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and what it asks for, in the versions of the lock."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder],
        cwd=ROOT,
        env={**os.environ, **our_modules()},
        check=True,
    )
    (wheel,) = folder.glob("*.whl")
    environment = folder / "environment"
    subprocess.run(
        [find_uv_bin(), "venv", "--quiet", "--no-config", "--python", sys.executable, environment],
        check=True,
    )
    settings = read_pip_settings()
    subprocess.run(
        [
            *(find_uv_bin(), "pip", "install", "--quiet", "--no-config"),
            *("--python", str(environment / "bin" / "python"), *uv_arguments(settings)),
            *("--constraints", str(ROOT / "lockfiles" / "runtime.txt"), str(wheel)),
        ],
        env={**os.environ, **uv_environment(settings)},
        check=True,
    )
    return environment


@pytest.fixture
def installed(environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    (tmp_path / "person").mkdir()
    return Installed(program=environment / "bin" / "runpod-comfy", folder=tmp_path / "empty")


def test_a_version_of_ones_own_is_made_run_and_built_from_an_empty_folder(
    installed: Installed, environment: Path, base_image: str, tmp_path: Path
) -> None:
    before = _files(environment)
    core = core_repository(tmp_path / "core", FIXTURE_CORE, "aiohttp\npyyaml\n")
    node = new_repository(tmp_path / "node", {"__init__.py": "NODE_CLASS_MAPPINGS = {}\n"})
    created = installed(
        *("create", "mine", "--repo", f"{core.at()['repo']}@main"),
        *("--nodes", f"{node.at()['repo']}@main"),
    )
    spec = installed.folder / "versions" / "mine.json"
    assert created["path"] == str(spec)
    document = json.loads(spec.read_text())
    document["options"] = {"constraints": held()}
    spec.write_text(json.dumps(document))
    installed("resolve", "mine")
    assert (installed.folder / "lockfiles" / "comfy-mine.lock.json").is_file()
    home = tmp_path / "home"
    installed("realize", "mine", "--target", home)
    (installed.folder / "workflows").mkdir()
    write_graph(installed.folder / "workflows" / "text.json", {"1": saving("a text")})
    result = installed("run", "mine", "--target", home, "--workflow", "workflows/text.json")
    assert result["files"]
    built = installed("image", "build", "mine", "--base", base_image, "--tag", TAG)
    assert TAG in built["tags"]
    assert _files(environment) == before


def _files(environment: Path) -> set[Path]:
    """All files, without the bytecode of what was imported."""
    return {path for path in environment.rglob("*") if "__pycache__" not in path.parts}
