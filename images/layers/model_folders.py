"""Asks the core which model folders it knows, makes them, and writes extra_model_paths.yaml.

Run with the version's own interpreter: `model_folders.py COMFY_HOME FOLDERS_FILE`. The file tells
the core to look in `COMFY_HOME/models` first, by a path relative to itself, so that its bytes do
not depend on the home's path.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

# The exit code of a layer that lacks something required.
UNAVAILABLE = 3

HEADER = """\
# Made from the version's lock: the model folders that this core knows, in the home's models folder.
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


def yaml_of(folders: dict[str, list[str]]) -> str:
    """The text of extra_model_paths.yaml; a JSON string is also a YAML one."""
    lines = ["runpod_comfy:", "    base_path: ../models", "    is_default: true"]
    for name, directories in sorted(folders.items()):
        if len(directories) == 1:
            lines.append(f"    {json.dumps(name)}: {json.dumps(directories[0])}")
            continue
        lines.append(f"    {json.dumps(name)}: |")
        # The core inserts each default directory before the previous one, so the first has to be
        # last.
        lines += [f"        {directory}" for directory in reversed(directories)]
    return HEADER + "\n".join(lines) + "\n"


def main(home: Path, folders_file: Path) -> None:
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
    partial = core / "extra_model_paths.yaml.partial"
    partial.write_text(yaml_of(folders), encoding="utf-8")
    partial.replace(core / "extra_model_paths.yaml")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
