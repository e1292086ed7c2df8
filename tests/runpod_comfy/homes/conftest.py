"""A small version made by hand: folders as trees, tiny wheels, a core that needs no torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfy_home.platforms import this_platform
from runpod_comfy.cache.paths import Cache
from runpod_comfy.homes.home import Realization
from runpod_comfy.homes.run import RealizeResult
from runpod_comfy.lock.model import Distribution, Lock, LockedModel, PythonLock
from tests.locks import bare_lock, locked_model, locked_node, locked_tree, locked_wheels

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

_FOLDER_PATHS = """
import os
base_path = os.path.dirname(os.path.realpath(__file__))
models_dir = os.path.join(base_path, "models")
folder_names_and_paths = {"loras": ([os.path.join(models_dir, "loras")], {".safetensors"})}
"""

# Stands for rp_handler.check.run, whose own tests start real engines: the same arguments, the same
# files, the same exit code for a node that does not import.
_CHECK = """
import argparse, hashlib, json, os, pathlib, runpy, sys
parser = argparse.ArgumentParser()
for name in ("--home", "--python", "--report"):
    parser.add_argument(name, type=pathlib.Path, required=True)
options = parser.parse_args()
needs = json.loads((options.home / ".comfy_env").read_text())["import_needs"]
unmet = sorted(one for some in needs.values() for one in some if one[4:] not in os.environ)
not_imported = {}
folder = options.home / "ComfyUI/custom_nodes"
def look():
    return {
        str(path.relative_to(options.home)): hashlib.sha256(path.read_bytes()).hexdigest()
        for top in ("ComfyUI", ".venv/lib")
        for path in (options.home / top).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
before = look()
nodes = sorted(folder.glob("*/__init__.py"))
for node in (*nodes, *folder.glob("*.py")):
    try:
        runpy.run_path(str(node))
    except Exception as error:
        if unmet:
            not_imported[node.parent.name] = {"needs": unmet, "reason": str(error)}
            continue
        name = node.parent.name if node in nodes else node.name
        sys.exit(f"error: {name} did not import: {error}")
(options.home / ".comfy_object_info.json").write_text("{}")
classes = {node.parent.name: [] for node in nodes}
after = look()
changed = [
    {
        "path": path,
        "sha256": after.get(path),
        "change": "added" if path not in before else "changed" if path in after else "removed",
    }
    for path in sorted(before | after)
    if before.get(path) != after.get(path)
]
damage = [each["path"][6:] for each in changed if each["path"].startswith(".venv/")]
if damage and not json.loads((options.home / ".comfy_env").read_text())["writable_environment"]:
    options.report.with_name("changed-environment.json").write_text(json.dumps(damage))
    sys.exit("error: a node changed the Python environment")
report = {"comfyui_version": "0", "node_classes": classes, "folder_names": {}, "flags": []}
report |= {"unmet_needs": unmet, "not_imported": not_imported, "changed": changed}
options.report.write_text(json.dumps(report))
"""


class Version:
    """A version whose parts a test may change before it asks for the lock."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.wheels_dir = folder / "wheels"
        self.wheels_dir.mkdir(parents=True)
        self.cache = Cache(root=folder / "cache")
        self.nodes = ["painter"]
        self.models: list[LockedModel] = []
        self.torch = [self.wheel("torchlike", "1.0")]
        self.wheels = [self.wheel("alpha", "1.0")]
        self.changes: dict[str, Any] = {}
        self.write("core/main.py", "print('core')\n")
        self.write("core/folder_paths.py", _FOLDER_PATHS)
        self.write("painter/__init__.py", "NODE_CLASS_MAPPINGS = {}\n")

    def write(self, path: str, text: str) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def wheel(self, name: str, version: str) -> Distribution:
        return locked_wheels(self.wheels_dir, name, version)

    def model(self, name: str, content: str, *, target_path: str | None = None) -> LockedModel:
        return locked_model(self.write(name, content), target_path or f"loras/{name}")

    def lock(self, version_id: str = "small") -> Lock:
        return bare_lock(
            version_id=version_id,
            comfy=locked_tree(self.folder / "core"),
            custom_nodes=[locked_node(self.folder / name) for name in self.nodes],
            python=PythonLock(
                version=PYTHON,
                platforms=[this_platform()],
                torch=self.torch,
                wheels=self.wheels,
            ),
            models=self.models,
        ).model_copy(update=self.changes)

    def job(self, target: Path | None = None, **changes: Any) -> Realization:
        job = Realization(
            lock=self.lock(),
            target=target or self.home,
            base_dir=self.folder,
            cache=self.cache,
            wheels_dir=self.wheels_dir,
        )
        return replace(job, **changes)


@pytest.fixture
def version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Version:
    return make_version(tmp_path, monkeypatch)


def make_version(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Version:
    """A version in `folder`, checked by a double of the handler."""
    handler = folder / "handler" / "rp_handler"
    handler.mkdir(parents=True)
    (handler / "__init__.py").touch()
    (handler / "check").mkdir()
    (handler / "check" / "run.py").write_text(_CHECK)
    monkeypatch.syspath_prepend(str(handler.parent))
    return Version(folder / "version")


def built(result: RealizeResult) -> list[str]:
    """The layers that were made, or taken from the cache."""
    return [layer.name for layer in result.layers if layer.outcome != "kept"]


def snapshot(folder: Path, *, leave_out: Sequence[str] = ()) -> dict[str, tuple[int, str, bytes]]:
    """Every path below a folder with its mode, where it links to, and its bytes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name in leave_out:
            continue
        link = str(path.readlink()) if path.is_symlink() else ""
        content = path.read_bytes() if path.is_file() and not link else b""
        found[name] = (path.lstat().st_mode, link, content)
    return found


def times(folder: Path) -> dict[str, tuple[int, int]]:
    """Every path below a folder with its times of modification and of change, in nanoseconds."""
    return {
        str(path): (path.lstat().st_mtime_ns, path.lstat().st_ctime_ns)
        for path in (folder, *folder.rglob("*"))
    }


def imports(home: Path, module: str) -> bool:
    """Whether the home's own interpreter can import a module."""
    command = [str(home / ".venv/bin/python"), "-B", "-c", f"import {module}"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
