"""Model files as the engine will find them: folders, their directories, and the files there now."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

MODEL_SUFFIXES = frozenset(
    {
        ".bin",
        ".ckpt",
        ".gguf",
        ".onnx",
        ".pkl",
        ".pt",
        ".pt2",
        ".pth",
        ".safetensors",
        ".sft",
    }
)

# Folders of a path that are looked at.
_DEEPEST = 8


@dataclass(frozen=True, kw_only=True)
class ModelFolders:
    """Where the engine looks for models.

    `roots` are the models folders, the preferred one first. `folders` maps a folder name
    (`checkpoints`) to directories relative to each root. `inputs` maps a node class and one of
    its inputs to the folder names whose files that input offers.
    """

    roots: Sequence[Path]
    folders: Mapping[str, Sequence[str]]
    inputs: Mapping[str, Mapping[str, Sequence[str]]]

    def directories(self, folder_names: Sequence[str]) -> list[Path]:
        """Every directory, existing or not, that the engine searches for `folder_names`."""
        return [
            root / directory
            for name in folder_names
            for root in self.roots
            for directory in self.folders.get(name, (name,))
        ]

    def find(self, folder_names: Sequence[str], file_name: str) -> Path | None:
        """The file `file_name` (it may have subfolders) in one of `folder_names`, or None."""
        # The same normalisation as the core's folder_paths.get_full_path.
        inside = os.path.relpath(os.path.join("/", file_name.replace("\\", "/")), "/")  # noqa: PTH118
        places = (directory / inside for directory in self.directories(folder_names))
        return next((place for place in places if is_there(place)), None)

    def holds(self, folder_names: Sequence[str], file_name: str) -> bool:
        """True if `find` finds it."""
        return self.find(folder_names, file_name) is not None

    def accepted_name(self, folder_names: Sequence[str], path: str) -> str | None:
        """The name of the file in `folder_names` that a path leads to, as it may look on another
        machine or with its folder; None if the end of the path names no file there.
        """
        parts = path.replace("\\", "/").split("/")
        starts = range(max(1, len(parts) - _DEEPEST), len(parts))
        ends = ("/".join(parts[start:]) for start in starts)
        return next((end for end in ends if end and self.holds(folder_names, end)), None)

    def below_root(self, file: Path) -> str | None:
        """The path of a file below the models folder that has it, None for one elsewhere."""
        root = next((root for root in self.roots if file.is_relative_to(root)), None)
        return None if root is None else file.relative_to(root).as_posix()

    def listing(self, folder_names: Sequence[str]) -> list[str]:
        """The files in `folder_names`, as the engine would list them, sorted."""
        found: set[str] = set()
        for directory in self.directories(folder_names):
            for parent, _, file_names in os.walk(directory, followlinks=True):
                below = PurePosixPath(Path(parent).relative_to(directory).as_posix())
                found.update(
                    str(below / name)
                    for name in file_names
                    if Path(name).suffix.lower() in MODEL_SUFFIXES
                )
        return sorted(found)


def is_there(file: Path) -> bool:
    """True if there is a file; False also for a path that no file can have."""
    return os.path.isfile(file)  # noqa: PTH113 (a text from a graph may be too long for a name)


def looks_like_a_model(value: str) -> bool:
    """True for text whose suffix is that of a model file."""
    return PurePosixPath(value).suffix.lower() in MODEL_SUFFIXES
