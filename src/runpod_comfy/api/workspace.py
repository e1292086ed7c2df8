"""Finds the project folder and the version, before any pydantic model is imported."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias

from comfy_errors import InvalidInputError, UnavailableError
from comfy_files.user_paths import expanded
from rp_handler.run_request import DEFAULT_VERSION_ID
from runpod_comfy.cache.paths import Cache

StrPath: TypeAlias = str | os.PathLike[str]


def as_path(path: StrPath | None) -> Path | None:
    """The argument as a path; None stays None."""
    return None if path is None else expanded(os.fspath(path))


def find_project(project: StrPath | None) -> Path:
    """The folder with `versions/`, `lockfiles/` and `workflows/`: `project` if given, else the
    first with `versions/` at or above the working directory, else the working directory.

    Raises UnavailableError if there is no `project`, InvalidInputError if it is a file.
    """
    named = as_path(project)
    if named is not None:
        if named.exists() and not named.is_dir():
            raise InvalidInputError(
                f"the project folder {named} is a file", remedy="Name a folder with --project."
            )
        if not named.is_dir():
            raise UnavailableError(
                f"there is no project folder {named}",
                remedy="Create it, or name another folder with --project.",
            )
        return named.absolute()
    here = Path.cwd()
    return next((each for each in (here, *here.parents) if (each / "versions").is_dir()), here)


def find_models_dir(models_dir: StrPath | None) -> Path | None:
    """The shared models folder: the argument, else `MODELS_DIR`; None without either."""
    named = models_dir or os.environ.get("MODELS_DIR")
    return expanded(named).absolute() if named else None


def spec_files(project: Path, cache: Cache) -> dict[str, Path]:
    """The specs of a project and of loaded bundles, by id; the project's take precedence."""
    folders = (cache.loaded / "versions", project / "versions")
    found = {path.stem: path for folder in folders for path in folder.glob("*.json")}
    return dict(sorted(found.items()))


def lock_sources(version_id: str, spec: Path, cache: Cache) -> list[Path]:
    """The files that decide which lock is used, existing or not."""
    named = os.environ.get("LOCK_PATH")
    return [
        spec,
        *([expanded(named).absolute()] if named else []),
        spec.parent.with_name("lockfiles") / f"comfy-{version_id}.lock.json",
        cache.resolved / f"{version_id}.lock.json",
    ]


def version_id_of(named: str | None) -> str:
    """The given id, else COMFY_VERSION_NAME, else the default.

    Raises InvalidInputError for an empty id: a variable in a script may be unset.
    """
    if named == "":
        raise InvalidInputError("the version id is empty", remedy="Name a version, such as demo.")
    return named or os.environ.get("COMFY_VERSION_NAME") or DEFAULT_VERSION_ID


def one_name(argument: str | None, option: str | None) -> str | None:
    """The id of a version that may be given twice. Raises InvalidInputError if two differ."""
    if None not in (argument, option) and argument != option:
        raise InvalidInputError(
            f"two versions were named: '{argument}' and '{option}'", remedy="Name one of them."
        )
    return option if argument is None else argument
