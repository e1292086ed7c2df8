"""Which inputs of which nodes choose among the files of which model folder?

`object_info` lists files but not their folder, and with no models there it lists nothing. So the
engine is given one more directory for each folder, all in a temporary place. After its normal
start each gets one file of a name that nobody uses, and whatever input then offers that name,
chooses from that folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from comfy_workflows.model_files import ModelFolders
from rp_handler.home.model_paths import write_model_paths

# Every folder of the core takes one of these suffixes.
_SUFFIXES = (".safetensors", ".yaml")
_PREFIX = "comfy-probe-"


class ModelProbe:
    """Probes for `folder_names`, below the existing, empty folder `place`.

    `paths_file` is the `extra_model_paths.yaml` to start the engine with.
    """

    def __init__(self, place: Path, folder_names: Sequence[str]) -> None:
        self.paths_file = place / "extra_model_paths.yaml"
        self._directories = {name: place / "models" / name for name in folder_names}
        for directory in self._directories.values():
            directory.mkdir(parents=True)
        folders = ModelFolders(roots=(), folders={name: [name] for name in folder_names}, inputs={})
        write_model_paths(self.paths_file, place / "models", folders)

    def put(self) -> None:
        """Puts the files there, empty. To be called when the engine is up."""
        for name, directory in self._directories.items():
            for suffix in _SUFFIXES:
                (directory / f"{_PREFIX}{name}{suffix}").touch()

    def found_in(self, object_info: Mapping[str, Any]) -> dict[str, dict[str, list[str]]]:
        """Node class → input → folder names, from an `object_info` that was asked after `put`."""
        found: dict[str, dict[str, list[str]]] = {}
        for class_type, info in sorted(object_info.items()):
            for name, options in _combos(info):
                folders = sorted(
                    folder
                    for folder in self._directories
                    if any(f"{_PREFIX}{folder}{suffix}" in options for suffix in _SUFFIXES)
                )
                if folders:
                    found.setdefault(class_type, {})[name] = folders
        return found


def leave_out_model_files(
    object_info: Mapping[str, Any],
    model_inputs: Mapping[str, Mapping[str, Sequence[str]]],
    folders: Mapping[str, Sequence[str]],
) -> None:
    """Takes out of the choices in `object_info` the model files that lie there just now.

    What remains belongs to the version: names that a node offers whatever files there are.
    `folders` is the engine's answer to `/internal/folder_paths`.
    """
    for class_type, inputs in model_inputs.items():
        for name, options in _combos(object_info.get(class_type, {})):
            directories = [
                Path(directory)
                for folder in inputs.get(name, ())
                for directory in folders.get(folder, ())
            ]
            options[:] = [
                option
                for option in options
                if not any((directory / str(option)).is_file() for directory in directories)
            ]


def _combos(info: Mapping[str, Any]) -> Iterator[tuple[str, list[Any]]]:
    declared = info.get("input") or {}
    for kind in ("required", "optional"):
        for name, specification in (declared.get(kind) or {}).items():
            if not isinstance(specification, list) or not specification:
                continue
            if isinstance(specification[0], list):
                yield name, specification[0]
            elif len(specification) > 1 and isinstance(specification[1], dict):
                options = specification[1].get("options")
                if isinstance(options, list):
                    yield name, options
