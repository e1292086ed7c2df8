"""Nodes whose packages are listed elsewhere than in `requirements.txt`, which alone is read.

They come from an `install.py`, or from files that the node's author tells people to install.
"""

from __future__ import annotations

from pathlib import Path

from comfy_errors.names import listed
from runpod_comfy.lock.requirements.line import quoted
from runpod_comfy.lock.requirements.read import REQUIREMENTS

_SCRIPT = "install.py"
_NAMED_AT_MOST = 4


def listed_elsewhere(tree: str, folder: Path, *, runs_script: bool) -> str | None:
    """A note about the tree `node:<name>` in `folder` if it has no requirements.txt and other files
    that may say what it needs, else None. `runs_script` says whether the spec runs its install.py.
    """
    if (folder / REQUIREMENTS).exists():
        return None
    has_script = (folder / _SCRIPT).is_file()
    files = sorted(
        quoted(path.relative_to(folder).as_posix())[1:-1]
        for pattern in ("*.txt", "requirements/*.txt")
        for path in folder.glob(pattern)
        if "requirement" in path.relative_to(folder).as_posix().lower() and path.is_file()
    )
    if (has_script and runs_script) or not (has_script or files):
        return None
    found = listed([_SCRIPT, *files] if has_script else files, at_most=_NAMED_AT_MOST)
    run = ""
    if has_script:
        run = f'run its {_SCRIPT} ("run_install_scripts": ["{tree.partition(":")[2]}"]), or '
    return (
        f"{tree} has no {REQUIREMENTS} but {found}, not read by resolve: {run}put the lines that "
        "it needs into options.requirements of the spec"
    )
