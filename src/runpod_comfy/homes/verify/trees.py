"""The findings of a verification, and its check of the core and the nodes of a home, and of the
trees in the cache that they came from.
"""

from __future__ import annotations

import importlib.util
import json
import os
import stat
import subprocess
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from comfy_files.processes import end_group
from comfy_home.layout import DATA_FOLDERS, IMPORTABLE
from comfy_home.tree_hash import is_left_out, tree_hash
from runpod_comfy.cache.tree import TreeStore
from runpod_comfy.homes.environment import find_interpreter
from runpod_comfy.homes.home import Realization, nodes_of_start, unmanaged_nodes
from runpod_comfy.homes.verify import bytecode
from runpod_comfy.homes.verify.listing import hash_of, hashes_of
from runpod_comfy.layers.plan import NODE_PREFIX, Layer, node_links
from runpod_comfy.lock.model import LockedTree
from runpod_comfy.sources.index.pip_settings import outside_variables

# The part of a node that was added by hand: it is reported, and stays.
UNMANAGED = "custom_nodes"
_BYTECODE_CHECK = Path(bytecode.__file__)
_GRACE_S = 1.0
# Where the user and the engine put files in the core's folder.
_PEOPLES = {*DATA_FOLDERS, "models", "temp"}
NOT_OF_CORE = frozenset({*_PEOPLES, "extra_model_paths.yaml"})
"""What is in the core's folder and does not come from its tree."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A file that differs from the lock. `part` is the layer or the part of the cache.

    `expected` and `found` are hashes, or words if there is nothing to hash.
    """

    part: str
    path: Path
    expected: str
    found: str


@dataclass(kw_only=True)
class Verification:
    """Faults and notes as they are found, and what `take_away` removes so that `realize` makes it
    again: `layers` in the marker, `entries` of the cache, `distributions` in uv's cache, and
    `strays`, files in the home that no layer made and that a new run would keep. `own_models` are
    model files that the user put in place of the version's: they are reported and kept.

    `checked_files` and `checked_bytes` count what was compared.
    """

    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    layers: set[str] = field(default_factory=set)
    entries: set[Path] = field(default_factory=set)
    distributions: set[str] = field(default_factory=set)
    strays: set[Path] = field(default_factory=set)
    own_models: set[Path] = field(default_factory=set)
    checked_files: int = 0
    checked_bytes: int = 0
    seconds: float = 0.0
    _hashes: dict[tuple[int, int] | str, str] = field(default_factory=dict)
    _counted: set[tuple[int, int]] = field(default_factory=set)

    @property
    def unmanaged(self) -> tuple[Path, ...]:
        """Nodes that are not in the lock. They are kept, because the user added them."""
        return tuple(fault.path for fault in self.faults if fault.part == UNMANAGED)

    @property
    def repairable(self) -> tuple[Fault, ...]:
        """The faults that `take_away` and a realization fix."""
        left_alone = {*self.unmanaged, *self.own_models}
        return tuple(fault for fault in self.faults if fault.path not in left_alone)

    def document(self) -> dict[str, object]:
        """The findings as JSON."""
        return {
            "verified": not self.faults,
            "differences": [{**asdict(fault), "path": str(fault.path)} for fault in self.faults],
            "notes": self.notes,
            "files": self.checked_files,
            "bytes": self.checked_bytes,
            "seconds": round(self.seconds, 3),
        }

    def add(self, part: str, path: Path, *, expected: str, found: str) -> None:
        self.faults.append(Fault(part=part, path=path, expected=expected, found=found))

    def count(self, path: Path) -> tuple[int, int] | None:
        """Counts a file once, however many names it has; returns its inode if it exists."""
        try:
            status = path.lstat()
        except OSError:
            return None
        inode = (status.st_dev, status.st_ino)
        if inode not in self._counted:
            self._counted.add(inode)
            self.checked_files += 1
            self.checked_bytes += status.st_size
        return inode

    def hashes_of(self, folder: Path, paths: Sequence[str]) -> dict[str, str]:
        """The hash of each file below `folder`. Each file is counted, and read once for all its
        names.
        """
        keys = {path: self.count(folder / path) or path for path in paths}
        unread = [path for path, key in keys.items() if key not in self._hashes]
        for path, found in zip(unread, hashes_of(folder, unread), strict=True):
            self._hashes[keys[path]] = found
        return {path: self._hashes[key] for path, key in keys.items()}


@dataclass(kw_only=True)
class TreeCheck:
    """Checks the trees of one home. `changed` are files that install scripts and the engine's start
    changed, already compared with their records; bytecode is compared at the end, all at once.
    """

    job: Realization
    findings: Verification
    changed: set[Path]
    _compiled: dict[Path, str] = field(default_factory=dict)

    def check(self, layer: Layer) -> None:
        """Compares a layer's files in the home with its tree, which is hashed first."""
        tree = layer.tree
        assert tree is not None, "only the core and the nodes are checked here"
        original = TreeStore(cache=self.job.cache).path_of(tree.request)
        is_whole = self._is_whole(layer.name, original, tree.tree_hash)
        pattern = f"{tree.tree_hash.replace(':', '-')}-{self.job.lock.python.version}-*"
        for path in self.job.cache.compiled.glob(pattern):
            if self._is_whole(layer.name, path, tree.tree_hash):
                self._compiled[path] = layer.name
        before = len(self.findings.faults)
        if is_whole:
            self._compare(layer, original)
        else:
            self._compare_whole(layer, tree)
        if len(self.findings.faults) > before:
            self.findings.layers.add(layer.name)

    def check_unmanaged(self) -> None:
        """Reports nodes in custom_nodes that are not in the lock: the core would import them."""
        nodes = {node.name for node in self.job.lock.custom_nodes}
        for path in unmanaged_nodes(self.job.home, nodes):
            if path not in self.changed:
                found = "a node that is not in the lock"
                self.findings.add(UNMANAGED, path, expected="nothing", found=found)
        for name in nodes_of_start(self.job.home) - nodes:
            for path in files_of(self.job.home.custom_nodes / name):
                if path.name.endswith(IMPORTABLE) and path not in self.changed:
                    found = "a file that Python may import"
                    self.findings.add("check", path, expected="nothing", found=found)
                    self.findings.strays.add(path)

    def check_bytecode(self) -> None:
        """Checks bytecode against its source, because Python runs it without checking."""
        home = self.job.home
        folders = [path for path in (home.comfyui, *self._compiled) if path.is_dir()]
        interpreter = find_interpreter(self.job.lock.python.version)
        nodes = {home.custom_nodes / node.name: node.name for node in self.job.lock.custom_nodes}
        for path in wrong_bytecode(interpreter, folders):
            entry = next((path for path in path.parents if path in self._compiled), None)
            if entry is not None:
                layer = self._compiled[entry]
                self.findings.entries.add(entry)
            elif (
                path.relative_to(home.comfyui).parts[0] in _PEOPLES
                or Path(importlib.util.source_from_cache(path)) in self.changed
            ):
                continue
            else:
                node = next((nodes[each] for each in path.parents if each in nodes), None)
                layer = f"{NODE_PREFIX}{node}" if node else "core"
                self.findings.layers.add(layer)
            expected = "the bytecode of its source"
            self.findings.add(layer, path, expected=expected, found=hash_of(path))

    def _is_whole(self, name: str, path: Path, expected: str) -> bool:
        """True if the tree is in the cache and matches the lock."""
        if not path.is_dir():
            return False
        found = tree_hash(path)
        for file in files_of(path):
            self.findings.count(file)
        if found != expected:
            self.findings.add(name, path, expected=expected, found=found)
            self.findings.entries.add(path)
        return found == expected

    def _folder(self, layer: Layer) -> Path:
        if layer.kind == "core":
            return self.job.home.comfyui
        return self.job.home.custom_nodes / layer.name.removeprefix(NODE_PREFIX)

    def _links(self, layer: Layer) -> dict[str, str]:
        """The links to models in a node's folder."""
        if layer.kind == "core":
            return {}
        return node_links(layer.name.removeprefix(NODE_PREFIX), self.job.lock.models)

    def _compare_whole(self, layer: Layer, tree: LockedTree) -> None:
        """Without the tree in the cache only a whole folder can be compared, and only a node's
        folder contains nothing else.
        """
        folder = self._folder(layer)
        if layer.kind == "node" and folder.is_dir() and tree_hash(folder) == tree.tree_hash:
            return
        found = "cannot be compared: its tree is not in the cache"
        self.findings.add(layer.name, folder, expected=tree.tree_hash, found=found)

    def _compare(self, layer: Layer, original: Path) -> None:
        folder = self._folder(layer)
        left_out = NOT_OF_CORE if layer.kind == "core" else frozenset()
        expected = {path.relative_to(original): path for path in files_of(original, left_out)}
        if layer.kind == "core":
            # See images/layers/core.sh.
            shipped = original / "models"
            expected |= {
                Path("core_models", path.relative_to(shipped)): path
                for path in files_of(shipped)
                if path.stat().st_size > 0
            }
        links = {Path(path): target for path, target in self._links(layer).items()}
        for inner in sorted(expected.keys() | links.keys()):
            place = folder / inner
            self.findings.count(place)
            if place in self.changed:
                continue
            wanted = f"link to {links[inner]}" if inner in links else described(expected[inner])
            found = described(place)
            if wanted != found:
                self.findings.add(layer.name, place, expected=wanted, found=found)
        # Everything else in custom_nodes is compared with the nodes' trees.
        others = {*left_out, "custom_nodes"} if layer.kind == "core" else set()
        for place in sorted(files_of(folder, others)):
            inner = place.relative_to(folder)
            if inner in expected or inner in links or place in self.changed:
                continue
            if place.name.endswith(IMPORTABLE):
                found = "a file that Python may import"
                self.findings.add(layer.name, place, expected="nothing", found=found)
                self.findings.strays.add(place)
            else:
                self.findings.notes.append(f"{place} was added")


def wrong_bytecode(interpreter: Path, folders: Sequence[Path]) -> list[Path]:
    """The bytecode below the folders that is not that of its source, for this interpreter.

    The processes that compare have ended when this does. Raises CalledProcessError.
    """
    command = [str(interpreter), "-I", "-B", "-S", str(_BYTECODE_CHECK)]
    process = subprocess.Popen(
        command,
        env=outside_variables(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        found, _ = process.communicate(json.dumps([str(folder) for folder in folders]).encode())
    except BaseException:
        end_group(process, grace_s=_GRACE_S)
        raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return [Path(path) for path in json.loads(found)]


def files_of(folder: Path, leave_out: Collection[str] = ()) -> Iterator[Path]:
    """Files and links below a folder that belong to a tree, and bytecode in places where Python
    imports it without a source.
    """
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


def described(path: Path) -> str:
    """What `hash_of` says of a path, and of a file whether it is executable."""
    found = hash_of(path)
    if len(found) == 64 and path.stat().st_mode & stat.S_IXUSR:
        return f"{found}, executable"
    return found
