"""Writes lockfiles/runtime.txt: what `runpod-comfy` needs, as lockfiles/default.lock pins it.

    .venv/bin/python scripts/runtime_list.py

The dependencies in pyproject.toml and their dependencies, without extras, with all hashes. Run it
after `./pants generate-lockfiles`; it contacts the package index.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from uv import find_uv_bin

from pex_lock import pip_requirements

ROOT = Path(__file__).resolve().parents[1]
LIST = ROOT / "lockfiles" / "runtime.txt"


def main() -> int:
    """Exit codes are those of uv."""
    pins = (line.split()[0] for line in pip_requirements(ROOT / "lockfiles" / "default.lock"))
    compile_list = [
        *(find_uv_bin(), "pip", "compile", "--quiet", "--no-config", "--universal"),
        *("--python-version", "3.11", "--generate-hashes", "--no-annotate"),
        *("--custom-compile-command", "python scripts/runtime_list.py"),
        *("--constraints", "-", "--output-file", str(LIST), str(ROOT / "pyproject.toml")),
    ]
    return subprocess.run(compile_list, input="\n".join(pins), text=True, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
