"""A repository of models on the double of the Hub: its commits, and the files in them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.model_hosts.storage import Content

Access = Literal["public", "gated", "private"]

# The Hub keeps larger files, and these formats, in LFS.
_LARGE_BYTES = 10 * 1024**2
_LFS = (".safetensors", ".bin", ".ckpt", ".pt", ".pth", ".gguf", ".onnx")


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """`oid` is the name that Git gives to a file of this content."""

    content: Content
    oid: str
    sha256: str
    is_lfs: bool

    @staticmethod
    def of(path: str, content: Content) -> HubFile:
        oid = hashlib.sha1(b"blob %d\0" % len(content))
        oid.update(content)
        return HubFile(
            content=content,
            oid=oid.hexdigest(),
            sha256=hashlib.sha256(content).hexdigest(),
            is_lfs=path.endswith(_LFS) or len(content) >= _LARGE_BYTES,
        )

    @property
    def etag(self) -> str:
        return f'"{self.sha256 if self.is_lfs else self.oid}"'


@dataclass
class Repository:
    """`branches` (tags are like them) have the name of a commit, `commits` its files."""

    access: Access = "public"
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Mapping[str, HubFile]] = field(default_factory=dict)

    def commit(self, branch: str, files: Mapping[str, HubFile]) -> str:
        listed = sorted((path, file.oid) for path, file in files.items())
        name = hashlib.sha1(json.dumps(listed).encode()).hexdigest()
        self.commits[name] = files
        self.branches[branch] = name
        return name

    def find(self, revision: str) -> str | None:
        """The commit that a branch, a tag or the name of a commit stands for."""
        commit = self.branches.get(revision, revision)
        return commit if commit in self.commits else None


def entries(
    files: Mapping[str, HubFile], folder: str, *, is_recursive: bool
) -> list[dict[str, Any]]:
    """What the Hub lists below `folder`, "" for the whole repository, in the order of the paths."""
    prefix = f"{folder}/" if folder else ""
    found: dict[str, dict[str, Any]] = {}
    for path, file in files.items():
        if not path.startswith(prefix):
            continue
        *parents, _ = path.removeprefix(prefix).split("/")
        for depth in range(1, len(parents) + 1 if is_recursive else min(len(parents), 1) + 1):
            below = prefix + "/".join(parents[:depth])
            oid = hashlib.sha1(below.encode()).hexdigest()
            found[below] = {"type": "directory", "oid": oid, "size": 0, "path": below}
        if is_recursive or not parents:
            size = len(file.content)
            entry = {"type": "file", "oid": file.oid, "size": size, "path": path}
            pointer = {"oid": file.sha256, "size": size, "pointerSize": 134}
            found[path] = {**entry, "lfs": pointer} if file.is_lfs else entry
    return [found[path] for path in sorted(found)]
