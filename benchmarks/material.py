"""What the contestants install: a real ComfyUI release, pinned once, so that all take the same
packages from the same indexes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ours import Ours
from runpod_comfy.lock.model import Lock
from tests.comfy_releases import ComfyRepository, comfy_repository, downloads_folder
from tests.git_repositories import GitRepository, new_repository

RELEASE = "v0.3.75"
# As the demo's lock has it.
TORCH = "2.11.0"


@dataclass(kw_only=True)
class Material:
    """`workspace` holds the specs and locks, `cache` is the one that they were resolved with.

    `pins` lists the locked packages, one a line, as pip and uv read constraints.
    """

    repository: ComfyRepository
    node: GitRepository
    workspace: Path
    cache: Path
    versions: int = 0

    @property
    def commit(self) -> str:
        return self.repository.commits[RELEASE]

    @property
    def pins(self) -> Path:
        return self.workspace / "pins.txt"

    def next_version(self) -> str:
        """The id of a version, locked, that differs from the ones before in its node's commit."""
        self.versions += 1
        version = f"bench-{self.versions}"
        self.node.write("__init__.py", f"NODE_CLASS_MAPPINGS = {{}}\nNUMBER = {self.versions}\n")
        commit = self.node.commit(f"Number {self.versions}")
        spec = {
            "schema_version": 2,
            "version_id": version,
            "comfy": {"repo": self.repository.url, "commit": self.commit},
            "custom_nodes": [{"name": "numbered", "repo": self.node.url, "commit": commit}],
            "options": {"torch": {"version": TORCH}},
        }
        (self.workspace / "versions" / f"{version}.json").write_text(json.dumps(spec))
        Ours(workspace=self.workspace, cache=self.cache).resolve(version)
        return version

    def lock(self, version: str) -> Lock:
        path = self.workspace / "lockfiles" / f"comfy-{version}.lock.json"
        return Lock.model_validate_json(path.read_bytes())


def make_material(folder: Path) -> tuple[Material, str]:
    """The material below `folder`, and its first version."""
    workspace = folder / "workspace"
    (workspace / "versions").mkdir(parents=True)
    material = Material(
        repository=comfy_repository(downloads_folder()),
        node=new_repository(folder / "numbered"),
        workspace=workspace,
        cache=folder / "cache",
    )
    version = material.next_version()
    material.pins.write_text(pins_of(material.lock(version)))
    return material, version


def pins_of(lock: Lock) -> str:
    """`name==version`, with its marker where a lock has one, for each package of `lock`."""
    lines = []
    for package in [*lock.python.torch, *lock.python.wheels]:
        marker = f" ; {package.marker}" if package.marker else ""
        lines.append(f"{package.name}=={package.version}{marker}\n")
    return "".join(lines)
