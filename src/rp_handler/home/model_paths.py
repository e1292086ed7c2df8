"""An `extra_model_paths.yaml` for models folders that the version's own file does not name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from comfy_workflows.model_files import ModelFolders


def write_model_paths(
    path: Path, models_dir: Path | None, folders: ModelFolders, *, links: Path | None = None
) -> None:
    """Writes to `path` that models lie in `models_dir` too, in the folders the core knows.

    Where the core was never asked for its folders, those that `models_dir` has are named. Those
    of `links` come before all others, also before the core's own.
    """
    sections = []
    if models_dir is not None:
        sections.append(_section("models", models_dir, folders.folders or _folders_in(models_dir)))
    if links is not None:
        sections.append(_section("links", links, _used(links, folders.folders), is_default=True))
    path.write_text("".join(sections), encoding="utf-8")


def _section(
    name: str, base: Path, folders: Mapping[str, Sequence[str]], *, is_default: bool = False
) -> str:
    """Values are texts, several directories one a line: a YAML list would crash the core."""
    lines = [f"{name}:", f"  base_path: {json.dumps(str(base))}"]
    if is_default:
        lines.append("  is_default: true")
    for folder, directories in sorted(folders.items()):
        inside = [one for one in directories if not Path(one).is_absolute() and ".." not in one]
        if inside:
            # A JSON string is a YAML string, whatever the name holds.
            lines.append(f"  {json.dumps(folder)}: {json.dumps(chr(10).join(inside))}")
    return "\n".join(lines) + "\n"


def _folders_in(models_dir: Path) -> dict[str, list[str]]:
    return {path.name: [path.name] for path in sorted(models_dir.iterdir()) if path.is_dir()}


def _used(links: Path, known: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The folders that have links, by the core's names for them, else by their own."""
    used = {
        name: there
        for name, directories in known.items()
        if (there := [one for one in directories if (links / one).is_dir()])
    }
    named = {Path(one).parts[0] for directories in used.values() for one in directories}
    return {**{name: it for name, it in _folders_in(links).items() if name not in named}, **used}
