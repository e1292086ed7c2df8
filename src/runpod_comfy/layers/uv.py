"""uv: its path and its settings, for a script on this machine and for a step of an image.

All settings are variables: an index URL may hold a password, and every user on the machine can read
arguments.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from runpod_comfy.sources.index.pip_settings import (
    PipSettings,
    pip_environment,
    uv_arguments,
    uv_environment,
)

_ANOTHERS = ("VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "UV_COMPILE_BYTECODE", "__PYVENV_LAUNCHER__")


def uv_program() -> Path:
    """The uv that is installed with this program."""
    from uv import find_uv_bin

    return Path(find_uv_bin())


def outside_variables() -> dict[str, str]:
    """This process's variables, without those that would misconfigure another Python or uv."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "PEX")) and name not in _ANOTHERS
    }


def uv_variables(
    pip: PipSettings,
    environment: Mapping[str, str],
    *,
    wheels_dir: Path | None = None,
    first_index: str | None = None,
    stored: Sequence[str] = (),
) -> dict[str, str]:
    """Where packages come from, to be added to `environment`: pip's configured sources.

    `wheels_dir` replaces all indexes; otherwise `stored` (indexes on this disk) and `first_index`
    come before them. `NO_INDEX` is `1` if the layer scripts have to pass `--no-index` to uv, which
    has no variable for it.
    """
    variables = uv_environment(pip, environment)
    if wheels_dir is not None:
        # As a URL: commas separate the entries of this list.
        return {**variables, "UV_FIND_LINKS": wheels_dir.absolute().as_uri(), "NO_INDEX": "1"}
    arguments = uv_arguments(pip, environment)
    no_index = "--no-index" in arguments
    first = [*stored, *([first_index] if first_index else [])]
    if no_index:
        variables["NO_INDEX"] = "1"
    if first and not no_index:
        others = variables.get("UV_INDEX") or environment.get("UV_INDEX", "")
        variables["UV_INDEX"] = " ".join([*first, others]).strip()
    elif stored:
        # With --no-index only folders are used.
        others = variables.get("UV_FIND_LINKS") or environment.get("UV_FIND_LINKS", "")
        variables["UV_FIND_LINKS"] = ",".join([*stored, others]).strip(",")
    if "--index-strategy" in arguments or first_index:
        # Hashes decide what is installed, so any index with the file is fine.
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return variables


def install_script_variables(
    pip: PipSettings, environment: Mapping[str, str], *, wheels_dir: Path | None = None
) -> dict[str, str]:
    """Where packages come from, for the pip and the uv that a node's install.py calls."""
    variables = {**pip_environment(pip), **uv_environment(pip, environment)}
    if wheels_dir is None:
        return variables
    place = wheels_dir.absolute().as_uri()
    return {**variables, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": place, "UV_FIND_LINKS": place}
