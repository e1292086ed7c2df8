"""A person at a shell, who types the commands of the user's guide in the folder of a project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.program import ROOT, our_modules, write_program


@dataclass(frozen=True, kw_only=True)
class Shell:
    """A shell in `folder`, with the variables that the person has exported."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def type(self, command: str) -> tuple[int, str, str]:
        """The exit code of a command, and what it says on standard output and standard error."""
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr


def typed(shell: Shell, command: str) -> tuple[str, str]:
    """What a command that succeeds says on standard output and standard error."""
    code, out, err = shell.type(command)
    assert code == 0, err
    return out, err


def make_project(root: Path) -> None:
    """Makes the folder `root` with the project's scripts and its Makefile.

    Its environment is already there: it has the program and the Python of this process.
    """
    shutil.copytree(ROOT / "scripts", root / "scripts")
    shutil.copy(ROOT / "Makefile", root)
    for packages in ("lockfiles/runtime.txt", ".venv/runtime.txt"):
        (root / packages).parent.mkdir()
        (root / packages).touch()
    python = f"PYTHONPATH='{our_modules()['PYTHONPATH']}' exec '{sys.executable}'"
    write_program(root / ".venv/bin/python", f'{python} "$@"\n')
    write_program(root / ".venv/bin/runpod-comfy", f'{python} -m runpod_comfy.cli.app "$@"\n')
