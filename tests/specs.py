"""Versions that need no torch, written as users write them: specs, and what they name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.git_repositories import GitRepository, new_repository

FIXTURE_CORE = Path(__file__).parent / "fixture_core"
"""Runs workflows of its own nodes; needs aiohttp and pyyaml."""
BARE_CORE = Path(__file__).parent / "bare_core"
"""Starts, and imports custom nodes; needs nothing."""


def core_repository(folder: Path, core: Path, requirements: str) -> GitRepository:
    """One of the cores in a repository, with the text of its requirements."""
    files = {file.name: file.read_text() for file in core.glob("*.py")}
    return new_repository(folder, {**files, "requirements.txt": requirements})


def write_spec(
    folder: Path,
    version_id: str,
    *,
    core: Mapping[str, str],
    nodes: Mapping[str, Mapping[str, str]],
    models: Sequence[Path] = (),
    node_models: Mapping[str, Path] | None = None,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Writes `<version_id>.json` into a folder of specs.

    `core` and each of the `nodes` are what `GitRepository.at` gives. A model goes into the folder
    of models that has the name of its own folder, or into such a folder of a node.
    """
    spec = {
        "schema_version": 2,
        "version_id": version_id,
        "comfy": core,
        "custom_nodes": [{"name": name, **tree} for name, tree in nodes.items()],
        "models": [
            {"name": model.name, "source": model.as_uri(), "target_subdir": model.parent.name}
            for model in models
        ]
        + [
            {
                "name": model.name,
                "source": model.as_uri(),
                "target_node": node,
                "target_subdir": model.parent.name,
            }
            for node, model in (node_models or {}).items()
        ],
        "options": options or {},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{version_id}.json").write_text(json.dumps(spec))


def whole_spec() -> dict[str, Any]:
    """A spec with one of everything but options."""
    return {
        "schema_version": 2,
        "version_id": "x",
        "comfy": {"repo": "https://h/core", "ref": "main", "commit": "1" * 40},
        "custom_nodes": [
            {"name": "first", "repo": "https://h/first", "ref": "main", "commit": "2" * 40},
            {"name": "second", "repo": "../second"},
        ],
        "models": [
            {
                "name": "m.bin",
                "source": "https://h/m.bin",
                "target_subdir": "vae",
                "target_path": "vae/m.bin",
                "checksum": "sha256:" + "3" * 64,
            }
        ],
        "env": {"A": "1"},
        "options": {},
    }
