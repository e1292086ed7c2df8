"""The layer scripts as they are run: by several shells, on a home of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "images" / "layers"
EPOCH = 320_000_000
"""Some time in February 1980."""

_CANDIDATES = (["sh"], ["bash", "--posix"], ["dash"], ["busybox", "sh"])
SHELLS = [shell for shell in _CANDIDATES if shutil.which(shell[0])]


@pytest.fixture(scope="session")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from uv import find_uv_bin

    folder = tmp_path_factory.mktemp("environment") / "venv"
    subprocess.run([find_uv_bin(), "venv", "--quiet", "--no-project", str(folder)], check=True)
    return folder


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A home and inputs, and one shell that runs layers there."""

    shell: list[str]
    folder: Path
    venv: Path
    path: str

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def core(self) -> Path:
        return self.home / "ComfyUI"

    def run(self, layer: str, variables: Mapping[str, str] | None = None) -> None:
        outcome = self.attempt(layer, variables)
        assert outcome.returncode == 0, outcome.stderr

    def attempt(
        self, layer: str, variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.shell, str(SCRIPTS / f"{layer}.sh")],
            env={
                "PATH": self.path,
                "INPUTS": str(self.folder / "inputs"),
                "COMFY_HOME": str(self.home),
                "VENV": str(self.venv),
                "TARGET": "host",
                "SOURCE_DATE_EPOCH": str(EPOCH),
                **(variables or {}),
            },
            capture_output=True,
            text=True,
            check=False,
        )

    def give(self, files: Mapping[str, str]) -> None:
        """Replaces the files in `inputs/` by these."""
        shutil.rmtree(self.folder / "inputs", ignore_errors=True)
        for name, text in files.items():
            path = self.folder / "inputs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


@pytest.fixture(params=SHELLS, ids=lambda shell: shell[0])
def bench(request: pytest.FixtureRequest, tmp_path: Path, venv: Path) -> Bench:
    # A space in every path: quoting is tested everywhere.
    folder = tmp_path / "a bench"
    (folder / "home").mkdir(parents=True)
    path = os.environ["PATH"]
    if request.param[0] == "busybox":
        # As in an Alpine image: find, touch, cp and the rest are busybox's too.
        tools = tmp_path / "busybox"
        tools.mkdir()
        subprocess.run(["busybox", "--install", "-s", str(tools)], check=True)
        path = f"{tools}:{path}"
    return Bench(shell=request.param, folder=folder, venv=venv, path=path)
