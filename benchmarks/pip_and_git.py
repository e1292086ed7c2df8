"""`git clone`, `python -m venv` and pip from a folder of wheels: how people do it by hand."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.material import Material
from benchmarks.processes import Program
from benchmarks.variables import plain_variables

_PYTHON = str(getattr(sys, "_base_executable", sys.executable))


@dataclass(frozen=True, kw_only=True)
class PipAndGit:
    """`wheels` holds a file of every pinned package."""

    material: Material
    wheels: Path

    def install(self, workspace: Path) -> float:
        """A new installation at `workspace`, which does not exist yet. pip writes bytecode too."""
        python = workspace / ".venv" / "bin" / "python"
        url = self.material.repository.url
        steps: list[tuple[str | Path, ...]] = [
            ("git", "clone", "--quiet", "--", url, workspace),
            ("git", "-C", workspace, "checkout", "--quiet", self.material.commit),
            (_PYTHON, "-m", "venv", workspace / ".venv"),
            (
                *(python, "-m", "pip", "install", "--quiet", "--no-deps"),
                *("--no-index", "--find-links", self.wheels, "-r", self.material.pins),
            ),
        ]
        step = _step(self.wheels.parent)
        return sum([step.seconds(*arguments) for arguments in steps])


def fill_wheels(material: Material, wheels: Path) -> None:
    """Downloads every pinned package for this machine into the folder `wheels`."""
    tool = wheels.with_name(f"{wheels.name}-tool")
    step = _step(wheels.parent)
    step.seconds(_PYTHON, "-m", "venv", tool)
    step.seconds(
        *(tool / "bin" / "python", "-m", "pip", "download", "--quiet", "--no-deps"),
        *("--no-cache-dir", "--dest", wheels, "-r", material.pins),
    )


def _step(folder: Path) -> Program:
    return Program(
        # Each step names its own program.
        command=("/usr/bin/env",),
        variables=plain_variables(),
        folder=folder,
        log=folder / "pip-and-git.log",
    )
