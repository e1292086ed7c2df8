"""Finds the Python interpreter that a version asks for; never takes another one silently."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from comfy_errors import UnavailableError
from runpod_comfy.layers.uv import uv_program


def find_interpreter(version: str) -> Path:
    """An interpreter of the minor version `version`, say `3.11`.

    Looked for: the one that this program runs on, then what uv finds (PATH and its own), then
    pyenv's. Raises UnavailableError, naming how to install it, if there is none.
    """
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    base = Path(getattr(sys, "_base_executable", sys.executable))
    if version == ours and base.is_file():
        return base
    found = _ask_uv(version) or _look_in_pyenv(version)
    if found is None:
        raise UnavailableError(
            f"this version runs on Python {version}, and no such interpreter was found",
            remedy=f"Install it, for example with: uv python install {version}",
        )
    return found


def _ask_uv(version: str) -> Path | None:
    # From the root folder: a .python-version file of some project is not meant here.
    answer = subprocess.run(
        [str(uv_program()), "python", "find", "--no-project", "--no-config", version],
        env={**os.environ, "UV_PYTHON_DOWNLOADS": "never"},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    return Path(answer.stdout.strip()) if answer.returncode == 0 else None


def _look_in_pyenv(version: str) -> Path | None:
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = root.glob(f"versions/{version}.*/bin/python{version}")
    return max(found, key=_patch_release, default=None)


def _patch_release(interpreter: Path) -> int:
    digits = interpreter.parts[-3].split(".")[2]
    return int(digits) if digits.isdecimal() else -1
