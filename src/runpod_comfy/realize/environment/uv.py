"""uv: where it is, and what it is told. All of it in variables, since an index's address may hold
a password, and an argument can be read by everyone on the machine."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from comfy_files.progress import Say
from runpod_comfy.cache.paths import Cache
from runpod_comfy.realize.environment.kept import LinkMode
from runpod_comfy.realize.home import Home

_ANOTHERS = ("VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "UV_COMPILE_BYTECODE", "__PYVENV_LAUNCHER__")


def uv_program() -> Path:
    """The uv that is installed with this program."""
    from uv import find_uv_bin

    return Path(find_uv_bin())


def outside_variables() -> dict[str, str]:
    """This process's variables, without those that would lead another Python or uv astray."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "PEX")) and name not in _ANOTHERS
    }


def installer_variables(
    *,
    cache: Cache,
    home: Home,
    wheels_dir: Path | None = None,
    first_index: str | None = None,
    stored: Sequence[str] = (),
    say: Say,
) -> dict[str, str]:
    """The cache, how files get from there into `home`, and where packages come from."""
    return {
        "UV_LINK_MODE": _link_mode(cache, home, say),
        **index_variables(
            cache=cache, wheels_dir=wheels_dir, first_index=first_index, stored=stored
        ),
    }


def index_variables(
    *,
    cache: Cache,
    wheels_dir: Path | None = None,
    first_index: str | None = None,
    stored: Sequence[str] = (),
) -> dict[str, str]:
    """The cache, and where packages come from: what this machine's pip is told.

    `wheels_dir` replaces all indexes; otherwise `stored`, indexes of this disk, and `first_index`
    come before them. `NO_INDEX` is `1` where the layer scripts are to give uv `--no-index`, for
    which it knows no variable.
    """
    # pip's configuration is read when something is installed, and only then.
    from runpod_comfy.sources.index.pip_settings import (
        read_pip_settings,
        uv_arguments,
        uv_environment,
    )

    pip = read_pip_settings()
    variables = {
        "UV_CACHE_DIR": str(cache.uv),
        **uv_environment(pip),
    }
    if wheels_dir is not None:
        # As a URL: in this list a comma separates.
        return {**variables, "UV_FIND_LINKS": wheels_dir.absolute().as_uri(), "NO_INDEX": "1"}
    arguments = uv_arguments(pip)
    if "--no-index" in arguments:
        variables["NO_INDEX"] = "1"
    first = [*stored, *([first_index] if first_index else [])]
    if first and "--no-index" not in arguments:
        told = variables.get("UV_INDEX") or os.environ.get("UV_INDEX", "")
        variables["UV_INDEX"] = " ".join([*first, told]).strip()
    elif stored:
        # Beside --no-index only folders count.
        told = variables.get("UV_FIND_LINKS") or os.environ.get("UV_FIND_LINKS", "")
        variables["UV_FIND_LINKS"] = ",".join([*stored, told]).strip(",")
    if "--index-strategy" in arguments or first_index:
        # Hashes decide what is installed: any index that has the file will do.
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return variables


def script_variables(wheels_dir: Path | None) -> dict[str, str]:
    """What the pip and uv that a node's install.py calls are told: what this machine's pip is."""
    from runpod_comfy.sources.index.pip_settings import (
        pip_environment,
        read_pip_settings,
        uv_environment,
    )

    pip = read_pip_settings()
    variables = {**pip_environment(pip), **uv_environment(pip)}
    if wheels_dir is None:
        return variables
    place = wheels_dir.absolute().as_uri()
    return {**variables, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": place, "UV_FIND_LINKS": place}


def link_report(mode: LinkMode, home: Home, cache: Cache) -> str:
    """How the packages came into `home`, for people."""
    if mode == "hardlink":
        return "Packages are hard-linked from the cache"
    return (
        f"warning: {home.root} and the cache {cache.root} cannot share files: packages are copied. "
        "Put COMFY_CACHE_ROOT on the same volume to save room and time."
    )


def _link_mode(cache: Cache, home: Home, say: Say) -> str:
    """`hardlink` where the home and uv's cache can share files, else `copy`, said aloud."""
    cache.uv.mkdir(parents=True, exist_ok=True)
    home.logs.mkdir(exist_ok=True)
    with (
        tempfile.NamedTemporaryFile(dir=cache.uv, prefix=".link-") as probe,
        # Among the logs, which go in the end: a kill would leave this one behind.
        tempfile.TemporaryDirectory(dir=home.logs, prefix="link-") as folder,
    ):
        try:
            os.link(probe.name, Path(folder) / "link")
        except OSError:
            say(
                f"{home.root} and the cache {cache.uv} cannot share files: packages are copied. "
                "Put COMFY_CACHE_ROOT on the same volume to save room."
            )
            return "copy"
    say("Packages are hard-linked from the cache")
    return "hardlink"
