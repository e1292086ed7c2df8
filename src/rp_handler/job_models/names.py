"""The names under which an engine finds the models of a job, and what they may not replace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from comfy_errors import InvalidInputError, UnavailableError
from comfy_errors.names import nearest
from comfy_workflows.model_files import ModelFolders
from rp_handler.home.realized import Home

Name = tuple[str, str]
"""A folder of the engine (`loras`), and the name of a file in it, which may have folders."""


def directories_of_engine(home: Home) -> dict[str, list[str]]:
    """For each folder of the engine its directories that are below a models folder.

    Raises UnavailableError for a version that was never checked.
    """
    check = home.manifest.check
    if check is None:
        raise UnavailableError(
            "Which model folders there are is not known: this version was never checked.",
            remedy="Realize it again: its check records them.",
        )
    found = {
        folder: [one for one in directories if _is_below(PurePosixPath(one))]
        for folder, directories in check.folder_names.items()
    }
    return {folder: directories for folder, directories in found.items() if directories}


def _is_below(directory: PurePosixPath) -> bool:
    return bool(directory.parts) and not directory.is_absolute() and ".." not in directory.parts


def names_of(target_path: str, directories: Mapping[str, Sequence[str]]) -> list[Name]:
    """The names of a file at this path below a models folder.

    Raises InvalidInputError if the engine does not look there.
    """
    path = PurePosixPath(target_path)
    found = [
        (folder, path.relative_to(directory).as_posix())
        for folder, known in directories.items()
        for directory in known
        if path != PurePosixPath(directory) and path.is_relative_to(directory)
    ]
    if found:
        return found
    known = sorted({one for each in directories.values() for one in each})
    meant = nearest(path.parts[0], known)
    raise InvalidInputError(
        "is not in a model folder of this version"
        + (f"; the nearest is {meant}/" if meant else ""),
        remedy=f"Model folders are {', '.join(known)}.",
    )


def file_in_the_way(names: Sequence[Name], folders: ModelFolders) -> Path | None:
    """A model of this machine that has one of the names already."""
    found = (folders.find([folder], name) for folder, name in names)
    return next((file for file in found if file is not None), None)
