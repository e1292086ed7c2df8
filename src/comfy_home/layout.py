"""The paths inside a home, shared by the build side and the run side."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from comfy_files.files import Below, children
from comfy_files.user_paths import expanded

MARKER_NAME = ".comfy_env"
VENV_NAME = ".venv"
LOCK_NAME = ".comfy_lock"
OBJECT_INFO_NAME = ".comfy_object_info.json"
DAMAGE_NAME = "changed-environment.json"
"""Beside the report of a check: the paths in the environment that the engine changed."""
DATA_FOLDERS = ("input", "output", "user")
"""The user's own files, kept when a version is removed."""
IMPORTABLE = (".py", ".pyc", ".so", ".pth", ".dylib")
"""Suffixes of files that Python, and so the core, may import."""
UNCHANGED_NAME = ".comfy_unchanged.json"
"""What the command line recorded to conclude "nothing to do" quickly next time."""


@dataclass(frozen=True, kw_only=True)
class HomeLayout:
    """The folder of one realized version, `$COMFY_HOME`."""

    root: Path

    comfyui = Below("ComfyUI")
    custom_nodes = Below("ComfyUI/custom_nodes")
    venv = Below(VENV_NAME)
    python = Below(f"{VENV_NAME}/bin/python")
    models = Below("models")
    # Leads to `models`; in an image to the models of the container.
    core_models = Below("ComfyUI/models")
    # What the core ships in its models folder, such as configs.
    shipped_models = Below("ComfyUI/core_models")
    marker = Below(MARKER_NAME)
    object_info = Below(OBJECT_INFO_NAME)
    # What ComfyUI printed when the version was checked.
    check_log = Below(".comfy_check.log")
    # Records of what nodes' install scripts changed, one file per node.
    install_records = Below(".comfy_install")
    # The list of files that the layer `core` writes, each name ended by a zero byte.
    core_files = Below(".comfy_core_files")

    def files_of_core(self) -> list[Path]:
        """The core's files, relative to its folder; empty if they are not listed."""
        try:
            names = self.core_files.read_bytes().split(b"\0")
        except FileNotFoundError:
            return []
        return [Path(os.fsdecode(name)) for name in names if name]

    def importable_nodes(self) -> list[Path]:
        """The entries of custom_nodes that the core imports, sorted."""
        there = [path for path in children(self.custom_nodes) if path.name != "__pycache__"]
        return [path for path in there if path.is_dir() or path.name.endswith(IMPORTABLE)]

    def nodes_of_core(self) -> set[str]:
        """The entries of custom_nodes that came with the core."""
        paths = [path.parts for path in self.files_of_core()]
        return {parts[1] for parts in paths if parts[0] == "custom_nodes"}


def find_home(version_id: str, asked_home: Path | None, environment: Mapping[str, str]) -> Path:
    """The home of a version: `asked_home`, else `COMFY_HOME`, else `~/comfy-<id>`."""
    place = asked_home or environment.get("COMFY_HOME") or f"~/comfy-{version_id}"
    return expanded(place).absolute()


def home_arguments(version_id: str, home: Path, environment: Mapping[str, str]) -> str:
    """The words of a command that name a version and its home: the home only if it is not the one
    that `find_home` finds without them.
    """
    if home == find_home(version_id, None, environment):
        return version_id
    return f"{version_id} --target {shlex.quote(str(home))}"
