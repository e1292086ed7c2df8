"""Which version is meant, and the folder of its spec: known before any model is loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

from comfy_errors import InvalidInputError
from runpod_comfy.project import PACKAGES

StrPath: TypeAlias = str | os.PathLike[str]


def as_path(path: StrPath | None) -> Path | None:
    """A path that may be given as text; None stays None."""
    return None if path is None else Path(path).expanduser()


def workspace() -> Path:
    """The folder whose `versions/` is meant: the working directory if it has one, else ours."""
    here = Path.cwd()
    return here if (here / "versions").is_dir() else PACKAGES.parent


def version_id_of(named: str | None) -> str:
    """The id that was asked for, else COMFY_VERSION_NAME's, else the default."""
    asked = named or os.environ.get("COMFY_VERSION_NAME")
    if asked:
        return asked
    # Loaded where no version is named: a `realize` that has nothing to do should not wait for it.
    from rp_handler.run_request import DEFAULT_VERSION_ID

    return DEFAULT_VERSION_ID


def one_name(argument: str | None, option: str | None) -> str | None:
    """The id of a version that may be named twice. Raises InvalidInputError for two ids."""
    if argument and option and argument != option:
        raise InvalidInputError(
            f"two versions were named: '{argument}' and '{option}'", remedy="Name one of them."
        )
    return argument or option
