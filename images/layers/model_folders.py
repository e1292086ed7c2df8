"""Makes ComfyUI/models lead to the models, makes the folders that the core knows there, and writes
extra_model_paths.yaml.

Run with the version's own interpreter: `model_folders.py COMFY_HOME FOLDERS_FILE MODELS`. MODELS is
where ComfyUI/models leads. Paths in extra_model_paths.yaml are relative to itself, so that its
bytes do not depend on the home's path.
"""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import sys
from pathlib import Path

# Exit codes of a layer that failed, and of one that lacks something required.
FAILED = 1
UNAVAILABLE = 3

HEADER = """\
# Made from the version's lock: the model folders that this core knows, and its own files in them.
"""


def folders_of_core(core: Path) -> dict[str, list[str]]:
    """Each folder name of the core with its directories, relative to the core's models folder."""
    sys.path.insert(0, str(core))
    sys.argv = [str(core / "main.py")]
    try:
        import folder_paths  # type: ignore[import-not-found]  # the core's own module
    except Exception as error:
        fault = f"{type(error).__name__}: {error}"
        sys.stderr.write(f"the core's folder_paths.py does not import: {fault}\n")
        sys.exit(UNAVAILABLE)

    models = Path(folder_paths.models_dir)
    folders = {}
    for name, (directories, _suffixes) in folder_paths.folder_names_and_paths.items():
        below = [Path(directory) for directory in directories]
        inside = [path.relative_to(models).as_posix() for path in below if models in path.parents]
        if inside:
            folders[name] = inside
    return folders


def lead_to_models(core: Path, models: Path, target: str) -> None:
    """Makes `core/models` a link to `target`.

    Files that are there, such as those of an earlier home, move to the folder `models`.
    """
    place = core / "models"
    if not place.is_symlink() and place.is_dir():
        for parent, folders, names in os.walk(place, topdown=False):
            links = [name for name in folders if Path(parent, name).is_symlink()]
            for name in (*names, *links):
                path = Path(parent, name)
                move(path, models / path.relative_to(place))
            Path(parent).rmdir()
    partial = core / ".models.partial"
    partial.unlink(missing_ok=True)
    partial.symlink_to(target)
    partial.replace(place)


def move(path: Path, target: Path) -> None:
    """Moves a file or link to `target`, unless an equal file is there."""
    if os.path.lexists(target):
        if not (target.is_file() and path.is_file() and filecmp.cmp(path, target, shallow=False)):
            sys.stderr.write(
                f"{path} and {target} are different files for the same place: move one away\n"
            )
            sys.exit(FAILED)
        path.unlink()
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        leads_to = path.parent / path.readlink()
        inside = os.path.relpath(leads_to, target.parent)
        target.symlink_to(path.readlink() if path.readlink().is_absolute() else inside)
        path.unlink()
    else:
        shutil.move(path, target)


def section(name: str, base: str, folders: dict[str, list[str]]) -> list[str]:
    """Lines of extra_model_paths.yaml; a JSON string is also a YAML one."""
    lines = [f"{name}:", f"    base_path: {base}", "    is_default: true"]
    for folder, directories in sorted(folders.items()):
        if len(directories) == 1:
            lines.append(f"    {json.dumps(folder)}: {json.dumps(directories[0])}")
            continue
        lines.append(f"    {json.dumps(folder)}: |")
        # The core inserts each default directory before the previous one, so the first has to be
        # last.
        lines += [f"        {directory}" for directory in reversed(directories)]
    return lines


def main(home: Path, folders_file: Path, target: str) -> None:
    core = home / "ComfyUI"
    folders = folders_of_core(core)
    known = {directory for directories in folders.values() for directory in directories}
    for folder in folders_file.read_text(encoding="utf-8").splitlines():
        # A folder that only a custom node uses: nodes extend what is registered under its name.
        if folder not in known and folder not in folders:
            folders[folder] = [folder]
    for directories in folders.values():
        for directory in directories:
            (home / "models" / directory).mkdir(parents=True, exist_ok=True)
    base = "../models"
    # In a repository that someone works on, the folder stays as git has it.
    if not (core / ".git").exists():
        lead_to_models(core, home / "models", target)
        base = "models"
    shipped = {
        name: [each for each in directories if (core / "core_models" / each).is_dir()]
        for name, directories in folders.items()
    }
    own = {name: directories for name, directories in shipped.items() if directories}
    lines = [*section("core", "core_models", own)] if own else []
    lines += section("runpod_comfy", base, folders)
    partial = core / "extra_model_paths.yaml.partial"
    partial.write_text(HEADER + "\n".join(lines) + "\n", encoding="utf-8")
    partial.replace(core / "extra_model_paths.yaml")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
