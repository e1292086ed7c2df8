"""An `extra_model_paths.yaml` for a models folder that the version's own file does not name."""

from __future__ import annotations

import json
from pathlib import Path

from comfy_workflows.model_files import ModelFolders


def write_model_paths(path: Path, models_dir: Path, folders: ModelFolders) -> None:
    """Writes to `path` that models lie in `models_dir` too, in the folders the core knows.

    Where the core was never asked for its folders, those that `models_dir` has are named.
    Values are texts, several directories one a line: a YAML list would crash the core.
    """
    names = folders.folders or {
        folder.name: [folder.name] for folder in sorted(models_dir.iterdir()) if folder.is_dir()
    }
    lines = ["models:", f"  base_path: {json.dumps(str(models_dir))}"]
    for name, directories in sorted(names.items()):
        inside = [one for one in directories if not Path(one).is_absolute() and ".." not in one]
        if inside:
            # A JSON string is a YAML string, whatever the name holds.
            lines.append(f"  {json.dumps(name)}: {json.dumps(chr(10).join(inside))}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
