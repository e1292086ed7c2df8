"""A fresh clone of this project, with a version of a benchmark in it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from comfy_errors import OperationFailedError
from runpod_comfy.project import PACKAGES

_PROJECT = PACKAGES.parent


def clone_project(folder: Path, *, workspace: Path, version: str) -> None:
    """Clones into `folder`, and copies the spec and the lock of `version` from `workspace`."""
    done = subprocess.run(
        ["git", "clone", "--quiet", "--depth=1", _PROJECT.as_uri(), str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise OperationFailedError(
            f"{_PROJECT} could not be cloned: {done.stderr.strip()}",
            remedy="Run the benchmark in a git checkout.",
        )
    for place, name in (
        ("versions", f"{version}.json"),
        ("lockfiles", f"comfy-{version}.lock.json"),
    ):
        shutil.copy(workspace / place / name, folder / place / name)
