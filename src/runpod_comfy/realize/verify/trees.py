"""The core and the nodes of a home, and the trees in the cache that they came from."""

from __future__ import annotations

import filecmp
import json
import os
import stat
import subprocess
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runpod_comfy.cache.paths import Cache
from runpod_comfy.cache.tree import TreeRequest
from runpod_comfy.cache.tree_hash import is_left_out, tree_hash
from runpod_comfy.cache.tree_store import TreeStore
from runpod_comfy.layers.plan import NODE_PREFIX, Layer, TreeInput
from runpod_comfy.layers.uv import outside_variables
from runpod_comfy.lock.model import LockedTree
from runpod_comfy.realize.environment import find_interpreter
from runpod_comfy.realize.home import DATA_FOLDERS, Home
from runpod_comfy.realize.listing import hash_of
from runpod_comfy.realize.verify import bytecode as bytecode_check
from runpod_comfy.realize.verify.differences import Findings

_BYTECODE_CHECK = Path(bytecode_check.__file__)
# The part of a node that somebody put there by hand: it is told, and nobody takes it away.
STRANGERS = "custom_nodes"
_IMPORTABLE = (".py", ".pyc", ".so", ".pth", ".dylib")
# Where people and the engine put something in the core's folder, and what the layer `models` makes
# there, whatever the core brings.
_OTHERS = {*DATA_FOLDERS, "models", "temp", "extra_model_paths.yaml"}


@dataclass(kw_only=True)
class TreeCheck:
    """Checks the trees of one home. `changed` are files that install scripts changed, which have
    been compared with their records; bytecode is compared at the end, in one go."""

    home: Home
    cache: Cache
    python_version: str
    findings: Findings
    changed: set[Path] = field(default_factory=set)
    _bytecode: list[tuple[str, Path]] = field(default_factory=list)

    def check(self, layer: Layer) -> None:
        """Compares what a layer put into the home with its tree, which is hashed first."""
        tree = next(each.tree for each in layer.inputs if isinstance(each, TreeInput))
        original = self._original(layer.name, tree)
        self._compiled(layer.name, tree)
        if layer.kind == "core":
            folder = self.home.comfyui
        else:
            folder = self.home.custom_nodes / layer.name.removeprefix(NODE_PREFIX)
        if folder.is_dir():
            self._bytecode.append((layer.name, folder))
        before = len(self.findings.faults)
        if original is None:
            self._compare_whole(layer, folder, tree)
        else:
            self._compare(layer, folder, original)
        if len(self.findings.faults) > before:
            self.findings.layers.add(layer.name)

    def check_known_nodes(self, names: Sequence[str]) -> None:
        """The core imports whatever lies in custom_nodes: nothing may that the lock has not."""
        known = {*names, "__pycache__"}
        for path in sorted(self.home.custom_nodes.iterdir()):
            expected = self.home.core_files.is_file() and self._is_cores(path)
            importable = path.is_dir() or path.name.endswith(_IMPORTABLE)
            if path.name in known or expected or not importable or path in self.changed:
                continue
            self.findings.add(
                STRANGERS, path, expected="nothing", found="a node that the lock has not"
            )

    def check_bytecode(self) -> None:
        """Bytecode runs without a look at its source, so it has to be that of its source."""
        folders = [str(folder) for _, folder in self._bytecode]
        asked = subprocess.run(
            [str(find_interpreter(self.python_version)), "-I", "-B", "-S", str(_BYTECODE_CHECK)],
            input=json.dumps(sorted(set(folders))),
            env=outside_variables(),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        seen = set()
        for _source, bytecode in json.loads(asked.stdout):
            # The core's folder holds the nodes' folders: the longest one is meant.
            layer, folder = max(
                (each for each in self._bytecode if Path(bytecode).is_relative_to(each[1])),
                key=lambda each: len(each[1].parts),
            )
            if bytecode in seen or self._is_peoples(Path(bytecode)):
                continue
            seen.add(bytecode)
            self.findings.add(
                layer,
                Path(bytecode),
                expected="the bytecode of its source",
                found=hash_of(Path(bytecode)),
            )
            if folder.is_relative_to(self.cache.root):
                self.findings.entries.add(folder)
            else:
                self.findings.layers.add(layer)

    def _original(self, name: str, tree: LockedTree) -> Path | None:
        """The tree in the cache, if it is there and is what the lock says."""
        request = TreeRequest(repo=tree.repo, ref=tree.ref, commit=tree.commit, subdir=tree.subdir)
        path = TreeStore(cache=self.cache).path_of(request)
        return path if self._is_whole(name, path, tree.tree_hash) else None

    def _compiled(self, name: str, tree: LockedTree) -> None:
        pattern = f"{tree.tree_hash.replace(':', '-')}-{self.python_version}-*"
        for path in self.cache.compiled.glob(pattern):
            if self._is_whole(name, path, tree.tree_hash):
                self._bytecode.append((name, path))

    def _is_whole(self, name: str, path: Path, expected: str) -> bool:
        if not path.is_dir():
            return False
        found = tree_hash(path)
        for file in _files(path):
            self.findings.count(file)
        if found != expected:
            self.findings.add(name, path, expected=expected, found=found)
            self.findings.entries.add(path)
        return found == expected

    def _compare_whole(self, layer: Layer, folder: Path, tree: LockedTree) -> None:
        """Without the tree in the cache nothing but the whole can be compared, and only a node's
        folder holds nothing else."""
        if layer.kind == "node" and folder.is_dir() and tree_hash(folder) == tree.tree_hash:
            return
        self.findings.add(
            layer.name,
            folder,
            expected=tree.tree_hash,
            found="not to be compared: its tree is not in the cache",
        )

    def _compare(self, layer: Layer, folder: Path, original: Path) -> None:
        leave_out = _OTHERS if layer.kind == "core" else set()
        # What else lies in custom_nodes is compared with the nodes' trees.
        others = {*leave_out, "custom_nodes"} if layer.kind == "core" else set()
        expected = {path.relative_to(original) for path in _files(original, leave_out)}
        for inner in sorted(expected):
            place = folder / inner
            self.findings.count(place)
            if place not in self.changed and not _same(original / inner, place):
                self.findings.add(
                    layer.name,
                    place,
                    expected=_described(original / inner),
                    found=_described(place),
                )
        for place in sorted(_files(folder, others)):
            if place.relative_to(folder) in expected or place in self.changed:
                continue
            if place.name.endswith(_IMPORTABLE):
                self.findings.add(
                    layer.name, place, expected="nothing", found="a file that Python may import"
                )
                self.findings.strays.add(place)
            else:
                self.findings.notes.append(f"{place} was added")

    def _is_cores(self, path: Path) -> bool:
        """Whether the core itself brought a file or folder in custom_nodes."""
        inner = b"./" + os.fsencode(path.relative_to(self.home.comfyui))
        names = self.home.core_files.read_bytes().split(b"\0")
        return any(name == inner or name.startswith(inner + b"/") for name in names)

    def _is_peoples(self, path: Path) -> bool:
        """Whether a file lies where only people put something."""
        if path.is_relative_to(self.home.comfyui):
            return path.relative_to(self.home.comfyui).parts[0] in {*DATA_FOLDERS, "models", "temp"}
        return False


def _files(folder: Path, leave_out: Collection[str] = ()) -> Iterator[Path]:
    """Files and links below a folder, without what is no part of a tree: except bytecode that
    lies where Python imports it from without a source."""
    for parent, folders, files in os.walk(folder):
        if Path(parent) == folder:
            folders[:] = [name for name in folders if name not in leave_out]
            files = [name for name in files if name not in leave_out]
        for name in list(folders):
            if is_left_out(name):
                folders.remove(name)
            elif Path(parent, name).is_symlink():
                yield Path(parent, name)
        for name in files:
            if not is_left_out(name) or name.endswith(".pyc"):
                yield Path(parent, name)


def _same(original: Path, place: Path) -> bool:
    try:
        if original.is_symlink() or place.is_symlink():
            return place.is_symlink() and original.readlink() == place.readlink()
        same_mode = not (original.stat().st_mode ^ place.stat().st_mode) & stat.S_IXUSR
        return same_mode and filecmp.cmp(original, place, shallow=False)
    except OSError:
        return False


def _described(path: Path) -> str:
    described = hash_of(path)
    if len(described) == 64 and path.stat().st_mode & stat.S_IXUSR:
        return f"{described}, executable"
    return described
