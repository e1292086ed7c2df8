"""Outputs of earlier runs, which the engine's cache may name again.

The engine answers for a node it has in its cache with the names of the files that the node wrote in
an earlier run. A name alone does not tell which file it was: each run starts with empty folders.
So the folders of a run are kept, and found by what made them: the node with everything that it
depends on.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from comfy_files.files import sha256_of
from comfy_files.space import size_of
from comfy_workflows.graph import Graph, is_link
from comfy_workflows.model_files import is_there
from rp_handler.engine.client import Execution
from rp_handler.engine.command import EngineFolders
from rp_handler.engine.prompt import entries_of

# What is kept; always the latest run.
_RUNS = 32
_BYTES = 512 * 2**20
# Nodes whose outputs are no longer kept are still known, so that their files are not taken for
# those of a later run. The engine's cache has those of its latest graph, by default.
_KNOWN = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeOutputs:
    """What a node shows in the history, and the folders with the files it names."""

    shown: Mapping[str, Any]
    folders: EngineFolders

    def files(self) -> Iterator[Path]:
        """The files that it names, existing or not."""
        places = {"output": self.folders.output, "temp": self.folders.temp}
        for entry in entries_of(self.shown):
            if isinstance(entry, str):
                continue
            folder = places.get(str(entry.get("type") or "output"))
            if folder is not None:
                yield folder / str(entry.get("subfolder") or "") / entry["filename"]


@dataclass(frozen=True, eq=False)
class _Run:
    """The folders of a run, below `folder`, and the keys of the nodes that it delivered for."""

    folder: Path
    keys: list[str] = field(default_factory=list)

    @cached_property
    def size_bytes(self) -> int:
        return size_of(self.folder)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    """What a node delivered in `run`, by node id: itself as `node`, and nodes that it added to the
    graph. Without a run it is no longer kept; then `content` is the hash of what it was, empty if
    it was not always the same.
    """

    node: str
    run: _Run | None
    outputs: Mapping[str, NodeOutputs] = field(default_factory=dict)
    content: str = ""

    def dropped(self) -> _Known:
        return replace(self, run=None, outputs={}, content=self.content_now())

    def content_now(self) -> str:
        """A hash of what it shows, and of the files."""
        if self.run is None:
            return self.content
        lines = [
            json.dumps([name if name != self.node else None, outputs.shown], sort_keys=True)
            + "".join(sha256_of(file) for file in outputs.files() if is_there(file))
            for name, outputs in self.outputs.items()
        ]
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


class KeptOutputs:
    """The outputs of one engine's runs: those of the latest one, and of some earlier ones.

    Its methods read and write files, so they belong in a thread.
    """

    def __init__(self, folders: EngineFolders) -> None:
        self._folders = folders
        # A graph can name a path relative to the folders of its own job, but not this one.
        self._root = folders.temp.parent / f"kept-{uuid.uuid4().hex}"
        self._number = 0
        # Both have the latest used last.
        self._runs: OrderedDict[Path, _Run] = OrderedDict()
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def leftovers(self) -> list[Path]:
        """What is in the engine's folders before a run: something may have been written between
        two runs, and the engine numbers new files after the existing ones.
        """
        folders = (self._folders.output, self._folders.temp)
        return [path for folder in folders if folder.is_dir() for path in folder.iterdir()]

    def keys_of(self, graph: Graph) -> dict[str, str]:
        """The `node_keys` of a graph that begins to run. Runs that are too many are dropped."""
        self._drop_oldest()
        return node_keys(graph)

    def claim(
        self, graph: Graph, keys: Mapping[str, str], execution: Execution
    ) -> dict[str, NodeOutputs] | None:
        """The outputs of a run that has just ended, by node id, of which some may be kept ones.
        None if the engine names files that are no longer known.

        `keys` are the graph's `node_keys`.
        """
        run, folders = self._keep_folders()
        made: dict[str, dict[str, NodeOutputs]] = {}
        found: dict[str, NodeOutputs] = {}
        is_complete = True
        for node, shown in execution.outputs.items():
            owner = node if node in graph.nodes else execution.owners.get(node, node)
            outputs = NodeOutputs(shown=shown, folders=folders)
            if owner not in execution.cached:
                made.setdefault(owner, {})[node] = outputs
                # Nodes that were added to the graph may be in a cache that it does not report.
                is_complete &= node in graph.nodes or node in execution.ran
            elif keys.get(owner) not in self._known:
                found[node] = outputs
                is_complete &= not any(outputs.files())
        for node in execution.cached & graph.nodes.keys() & keys.keys():
            known = self._known.get(keys[node])
            if known is None:
                continue
            self._use(keys[node], known)
            shown, own = execution.outputs.get(node), known.outputs.get(known.node)
            is_complete &= known.run is not None
            is_complete &= shown is None or (own is not None and own.shown == shown)
            for name, outputs in known.outputs.items():
                found[node if name == known.node else name] = outputs
        for node in (made.keys() | execution.ran) & keys.keys():
            self._learn(keys[node], _Known(node=node, run=run, outputs=made.get(node, {})))
        for outputs_of_node in made.values():
            found |= outputs_of_node
        if made:
            self._runs[run.folder] = run
        else:
            shutil.rmtree(run.folder, ignore_errors=True)
        return found if is_complete else None

    def forget(self) -> None:
        """Drops everything: the engine has an empty cache."""
        self._known.clear()
        for run in self._runs.values():
            shutil.rmtree(run.folder, ignore_errors=True)
        self._runs.clear()

    def _keep_folders(self) -> tuple[_Run, EngineFolders]:
        """Moves the files of the run that has just ended into a folder of their own."""
        self._number += 1
        folder = self._root / str(self._number)
        kept = replace(self._folders, output=folder / "output", temp=folder / "temp")
        for ours, theirs in ((self._folders.output, kept.output), (self._folders.temp, kept.temp)):
            if ours.is_dir() and any(ours.iterdir()):
                folder.mkdir(parents=True, exist_ok=True)
                ours.rename(theirs)
                ours.mkdir()
        return _Run(folder), kept

    def _use(self, key: str, known: _Known) -> None:
        self._known.move_to_end(key)
        if known.run is not None:
            self._runs.move_to_end(known.run.folder)

    def _learn(self, key: str, new: _Known) -> None:
        old = self._known.get(key)
        if old is None and not new.outputs:
            return
        if old is not None and old.content_now() != new.content_now():
            # Something besides the graph decides what it delivers.
            new = _Known(node=new.node, run=None)
        elif new.run is not None:
            new.run.keys.append(key)
        self._known[key] = new
        self._known.move_to_end(key)

    def _drop_oldest(self) -> None:
        total = sum(run.size_bytes for run in self._runs.values())
        while len(self._runs) > 1 and (len(self._runs) > _RUNS or total > _BYTES):
            _, run = self._runs.popitem(last=False)
            total -= run.size_bytes
            for key in run.keys:
                known = self._known.get(key)
                if known is not None and known.run is run:
                    self._known[key] = known.dropped()
            shutil.rmtree(run.folder, ignore_errors=True)
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)


def node_keys(graph: Graph) -> dict[str, str]:
    """For each node of `graph`, what its result depends on, as a hash: its class and inputs, and
    the nodes that it depends on. Empty for a graph with a cycle, which no engine runs.
    """
    if graph.circle():
        return {}
    needs = {node.id: set(node.links().values()) for node in graph.nodes.values()}
    keys: dict[str, str] = {}
    for node_id in TopologicalSorter(needs).static_order():
        if node_id in graph.nodes:
            node = graph.nodes[node_id]
            inputs = {
                name: ["link", keys.get(value[0]), value[1]] if is_link(value) else ["value", value]
                for name, value in node.inputs.items()
            }
            text = json.dumps([node.class_type, inputs], sort_keys=True)
            keys[node_id] = hashlib.sha256(text.encode()).hexdigest()
    return keys


def remove(paths: Iterable[Path]) -> None:
    """Removes files and folders."""
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
