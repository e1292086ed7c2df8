"""A version and all that it comes from, so that a test can move the world under it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.git_repositories import GitRepository, new_repository
from tests.package_index import publish

# As a person may have laid it out; only the commits in it may ever change.
_SPEC = """{
  "schema_version": 2, "version_id": "small",
  "comfy":  {"repo": "%(core)s", "ref": "main", "commit": "%(core_commit)s"},
  "custom_nodes": [ {"name": "painter", "repo": "%(painter)s", "ref": "main",
                     "commit": "%(painter_commit)s"},
                    {"name": "twin", "repo": "%(core)s", "ref": "v1", "commit": "%(core_commit)s"},
                    {"name": "sketch", "repo": "sketch"} ],
  "models": [{"name": "m.gguf", "source": "m.gguf", "target_subdir": "vae"}]
}
"""


@dataclass(frozen=True, kw_only=True)
class World:
    """A working directory with the version `small`, and all that it comes from."""

    folder: Path
    core: GitRepository
    painter: GitRepository
    index: Path

    @property
    def spec(self) -> Path:
        return self.folder / "versions" / "small.json"

    @property
    def lock_path(self) -> Path:
        return self.folder / "lockfiles" / "comfy-small.lock.json"

    @property
    def lock(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.lock_path.read_text())
        return document

    @property
    def versions(self) -> dict[str, str]:
        python = self.lock["python"]
        return {item["name"]: item["version"] for item in python["torch"] + python["wheels"]}

    def release(self, name: str, version: str) -> None:
        publish(self.index, name, version)


def make_world(folder: Path) -> World:
    """Everything but the lock, below `folder`: `alpha` and `beta` are at 1.0."""
    core = new_repository(
        folder / "Core",
        {"main.py": "", "folder_paths.py": "", "requirements.txt": "alpha\nbeta\n"},
        tag="v1",
    )
    painter = new_repository(folder / "Painter", {"__init__.py": "NODE_CLASS_MAPPINGS = {}\n"})
    versions = folder / "work" / "versions"
    (versions / "sketch").mkdir(parents=True)
    (versions / "sketch" / "__init__.py").write_text("")
    (versions / "m.gguf").write_text("weights")
    world = World(folder=versions.parent, core=core, painter=painter, index=folder / "index")
    world.spec.write_text(
        _SPEC
        % {
            "core": core.url,
            "core_commit": core.git("rev-parse", "HEAD"),
            "painter": painter.url,
            "painter_commit": painter.git("rev-parse", "HEAD"),
        }
    )
    world.release("alpha", "1.0")
    world.release("beta", "1.0")
    return world
