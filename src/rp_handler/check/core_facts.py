"""What a core reports about itself: its options, its model folders, and which node inputs offer
files from which folder.

`object_info` lists files but not their folders, and lists nothing if there are no models. So the
engine gets an extra temporary directory for each folder. After a normal start, a file with a unique
name is put in each; an input that then offers that name takes its files from that folder.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from comfy_errors import OperationFailedError
from comfy_errors.names import in_lines
from comfy_files.files import os_reason
from comfy_workflows.model_files import ModelFolders
from comfy_workflows.node_inputs import choices_of, declared_inputs
from rp_handler.engine.command import clean_environment
from rp_handler.errors import EngineStartError
from rp_handler.home.engine_setup import write_model_paths

_OPTION = re.compile(r"(?<![\w-])--[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?")
_TIMEOUT_S = 300
_ASK_FOLDERS = (
    "import json, folder_paths; print(json.dumps(sorted(folder_paths.folder_names_and_paths)))"
)
_NOT_MODELS = frozenset({"custom_nodes"})
# Every folder of the core accepts one of these suffixes.
_SUFFIXES = (".safetensors", ".yaml")
_PREFIX = "comfy-probe-"


def known_flags(core: Path, python: Path) -> list[str]:
    """The options that the core's `main.py --help` lists, with their dashes, sorted."""
    return sorted(set(_OPTION.findall(_ask(core, python, str(core / "main.py"), "--help"))))


def known_folders(core: Path, python: Path) -> list[str]:
    """The names of the core's own model folders, sorted."""
    told = _ask(core, python, "-c", _ASK_FOLDERS).strip().splitlines()
    names: list[str] = json.loads(told[-1]) if told else []
    return [name for name in names if name not in _NOT_MODELS]


def relative_folders(
    folders: Mapping[str, Sequence[str]], *, models: Sequence[Path], leave_out: Sequence[Path]
) -> dict[str, list[str]]:
    """Model folder name → directories, relative if they are below one of `models`.

    `folders` is the engine's answer to `/internal/folder_paths`. Directories below `leave_out`
    exist only because of how it was started, and are skipped.
    """
    relative: dict[str, list[str]] = {}
    for name in sorted(folders.keys() - _NOT_MODELS):
        kept = relative.setdefault(name, [])
        for directory in map(Path, folders[name]):
            inside = [directory.relative_to(one) for one in models if directory.is_relative_to(one)]
            told = inside[0].as_posix() if inside else str(directory)
            if told not in kept and not any(map(directory.is_relative_to, leave_out)):
                kept.append(told)
    return relative


def _ask(core: Path, python: Path, *arguments: str) -> str:
    command = [str(python), *arguments]
    try:
        answer = subprocess.run(
            command,
            cwd=core,
            # argparse wraps lines at the terminal's width, and so may split option names.
            env={**clean_environment(os.environ), "COLUMNS": "10000"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OperationFailedError(
            f"{python} cannot be run: {os_reason(error)}.", remedy="Realize the version again."
        ) from error
    if answer.returncode != 0:
        last = in_lines(answer.stderr.strip().splitlines()[-8:])
        raise EngineStartError(
            f"ComfyUI in {core} could not list its options (main.py --help):{last}",
            remedy="Check the version's Python packages and realize it again.",
        )
    return answer.stdout


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
        """Creates the empty files. Call this when the engine is up."""
        for name, directory in self._directories.items():
            for suffix in _SUFFIXES:
                (directory / f"{_PREFIX}{name}{suffix}").touch()

    def found_in(self, object_info: Mapping[str, Any]) -> dict[str, dict[str, list[str]]]:
        """Node class → input → folder names, from an `object_info` fetched after `put`."""
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
    """Removes the model files that exist just now from the choices in `object_info`.

    The rest belongs to the version: names that a node offers no matter which files exist. `folders`
    is the engine's answer to `/internal/folder_paths`.
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
    for name, specification in declared_inputs(info, "required", "optional").items():
        choices = choices_of(specification)
        if choices is not None:
            yield name, choices
