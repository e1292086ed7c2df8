"""A project small enough to make its environment in seconds, from one wheel of our own."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from uv import find_uv_bin

from pex_lock import pip_requirements
from tests.package_index import make_wheel

ROOT = Path(__file__).resolve().parents[2]
# What the scripts take from the project itself: errors, and where pip looks for packages.
_MODULES = (
    "comfy_errors/__init__.py",
    "comfy_errors/names.py",
    "comfy_files/files.py",
    "comfy_files/parallel.py",
    "comfy_files/progress.py",
    "comfy_files/user_paths.py",
    "comfy_http/settings.py",
    "runpod_comfy/sources/index/pip_settings.py",
)

_PROGRAM = '''"""The program of the small project."""
from alpha import __version__


def main():
    print(__version__)
'''

# Shows what a door hands on: each argument on a line of its own, and an exit code of its own.
_PROGRAM_OF_A_DOOR = """#!/bin/sh
printf '%s\\n' "$@"
exit 7
"""


@dataclass(frozen=True, kw_only=True)
class Project:
    """The small project and the folder of wheels that stands in for the package index."""

    root: Path
    wheels: Path

    def lock(self, version: str) -> None:
        """Lock the wheel `alpha` in this version, and all others among the wheels: `tool` as a tool
        for tests."""
        make_wheel(self.wheels, "alpha", version)
        locked = [
            {
                "project_name": wheel.name.split("-")[0],
                "version": wheel.name.split("-")[1],
                "artifacts": [
                    {"algorithm": "sha256", "hash": hashlib.sha256(wheel.read_bytes()).hexdigest()}
                ],
            }
            for wheel in sorted(self.wheels.glob("*.whl"))
            if wheel.name.split("-")[:2] == ["alpha", version] or not wheel.name.startswith("alpha")
        ]
        document = {"locked_resolves": [{"locked_requirements": locked}]}
        folder = self.root / "lockfiles"
        (folder / "default.lock").write_text("// by Pants\n" + json.dumps(document))
        pins = pip_requirements(folder / "default.lock")
        runtime = [pin.replace(" ", " \\\n    ") for pin in pins if not pin.startswith("tool")]
        (folder / "runtime.txt").write_text("# by uv\n" + "\n".join(runtime) + "\n")

    def start(self, *command: str | Path, **environment: str) -> subprocess.Popen[str]:
        """Start a command, from another folder, with pip seeing nothing but the wheels."""
        return subprocess.Popen(
            [str(part) for part in command],
            cwd=self.wheels,
            env={
                **os.environ,
                "PYTHON": sys.executable,
                "PIP_CONFIG_FILE": os.devnull,
                "PIP_NO_INDEX": "1",
                "PIP_FIND_LINKS": str(self.wheels),
                "PATH": f"{Path(find_uv_bin()).parent}{os.pathsep}{os.environ['PATH']}",
                **environment,
            },
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # So that a test can interrupt all of them, as Ctrl-C does.
            start_new_session=True,
        )

    def run(self, *command: str | Path, **environment: str) -> tuple[int, str, str]:
        """Run a command to its end: exit code, standard output, standard error."""
        process = self.start(*command, **environment)
        out, err = process.communicate()
        return process.returncode, out, err

    def pretend_made(self, *, from_list: str) -> None:
        """An environment made from a list of this text, whose program prints its arguments."""
        programs = self.root / ".venv" / "bin"
        programs.mkdir(parents=True)
        (programs / "python").symlink_to(sys.executable)
        (programs / "runpod-comfy").write_text(_PROGRAM_OF_A_DOOR)
        (programs / "runpod-comfy").chmod(0o755)
        (self.root / ".venv" / "runtime.txt").write_text(from_list)

    def runtime(self) -> str:
        """The text of the list of packages that the program needs."""
        return (self.root / "lockfiles" / "runtime.txt").read_text()

    def script(self, name: str) -> Path:
        """One of the project's scripts."""
        return self.root / "scripts" / name


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """The small project, with a space in its path, and no environment yet."""
    root = tmp_path / "small project"
    shutil.copytree(ROOT / "scripts", root / "scripts")
    for module in _MODULES:
        (root / "src" / module).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "src" / module, root / "src" / module)
    (root / "lockfiles").mkdir()
    program = root / "src" / "runpod_comfy" / "cli" / "app.py"
    program.parent.mkdir(parents=True)
    program.write_text(_PROGRAM)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    project = Project(root=root, wheels=wheels)
    project.lock("1.0")
    return project
