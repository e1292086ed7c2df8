"""Makes the engine's cache tell apart files of one name that differ from job to job.

The engine keeps a node's outputs under the values of its inputs, and a node that reads a file may
not say that the file has changed: another job's file of the same name would be used. An input that
no class declares is ignored, but part of that key.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from comfy_workflows.graph import Graph, parse_workflow
from rp_handler.inputs.names import ANNOTATIONS

KEY = "comfy_input_sha256"


def with_digests(graph: Graph, digests: Mapping[str, str]) -> Graph:
    """`graph`, in which each node that names one of a job's files, or a folder of them, has their
    sha256 in a further input; `digests` are those of all files by name.
    """
    if not digests:
        return graph
    by_path: dict[str, set[str]] = {}
    for name in digests:
        for path in _with_folders(name):
            by_path.setdefault(path, set()).add(name)
    document = {}
    for node_id, node in graph.document.items():
        found = {name for path in _paths_in(node["inputs"]) for name in by_path.get(path, ())}
        if found:
            text = "\n".join(f"{digests[name]} {name}" for name in sorted(found))
            digest = hashlib.sha256(text.encode()).hexdigest()
            node = {**node, "inputs": {**node["inputs"], KEY: digest}}
        document[node_id] = node
    return parse_workflow(document, place="of the job")


def _paths_in(inputs: Mapping[str, Any]) -> Iterator[str]:
    """The texts in the inputs of a node, read as paths of input files."""
    left: list[Any] = list(inputs.values())
    while left:
        value = left.pop()
        if isinstance(value, str):
            for annotation in ANNOTATIONS:
                value = value.removesuffix(annotation)
            yield posixpath.normpath(value.rstrip())
        elif isinstance(value, list | dict):
            left += value.values() if isinstance(value, dict) else value


def _with_folders(name: str) -> list[str]:
    """`a`, `a/b` and `a/b/c` for `a/b/c`."""
    parts = name.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
