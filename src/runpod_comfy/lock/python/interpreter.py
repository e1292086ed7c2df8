"""The Python that a spec asks for, before anything is solved for it."""

from __future__ import annotations

import re
import subprocess
import sys

from uv import find_uv_bin

from comfy_errors import InvalidInputError


def require_python(python: str | None) -> None:
    """Raises InvalidInputError for a minor version, say `3.99`, that no CPython has.

    Those that uv can install are known without a network, and so is the one that runs this.
    """
    if python in (None, f"{sys.version_info.major}.{sys.version_info.minor}"):
        return
    command = [find_uv_bin(), "python", "list", "--only-downloads", "--no-config", "--offline"]
    listed = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False).stdout
    minors = {int(minor) for minor in re.findall(r"^cpython-3\.(\d+)\.", listed, re.MULTILINE)}
    if not minors or int(str(python).partition(".")[2]) in minors:
        return
    raise InvalidInputError(
        f"'options.python' is '{python}', but there is no Python {python} to install",
        remedy=f"Use one from 3.{min(minors)} to 3.{max(minors)}; without the option it is 3.11.",
    )
