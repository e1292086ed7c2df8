"""What a core says about itself without being started: its options, its model folders."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from comfy_errors import OperationFailedError
from rp_handler.engine.command import clean_environment
from rp_handler.errors import EngineStartError

_OPTION = re.compile(r"(?<![\w-])--[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?")
_TIMEOUT_S = 300
_ASK_FOLDERS = (
    "import json, folder_paths; print(json.dumps(sorted(folder_paths.folder_names_and_paths)))"
)
_NOT_MODELS = frozenset({"custom_nodes"})


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
    """Model folder name → directories, relative where they lie below one of `models`.

    `folders` is the engine's answer to `/internal/folder_paths`. Directories below `leave_out`
    are artefacts of how it was started.
    """
    relative: dict[str, list[str]] = {}
    for name, directories in sorted(folders.items()):
        if name in _NOT_MODELS:
            continue
        kept: list[str] = []
        for directory in map(Path, directories):
            if any(directory.is_relative_to(one) for one in leave_out):
                continue
            inside = [directory.relative_to(one) for one in models if directory.is_relative_to(one)]
            told = inside[0].as_posix() if inside else str(directory)
            if told not in kept:
                kept.append(told)
        relative[name] = kept
    return relative


def _ask(core: Path, python: Path, *arguments: str) -> str:
    command = [str(python), *arguments]
    try:
        answer = subprocess.run(
            command,
            cwd=core,
            # argparse breaks lines, and with them names, at the terminal's width.
            env={**clean_environment(os.environ), "COLUMNS": "10000"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OperationFailedError(
            f"{python} cannot be run: {error}.", remedy="Realize the version again."
        ) from error
    if answer.returncode != 0:
        last = "".join(f"\n  {line}" for line in answer.stderr.strip().splitlines()[-8:])
        raise EngineStartError(
            f"ComfyUI in {core} does not even say what options it has:{last}",
            remedy="Look at the version's Python packages and realize it again.",
        )
    return answer.stdout
