"""Makes the engine's cache tell apart files of one name that differ from job to job.

The engine keeps a node's outputs under the values of its inputs, and a node that reads a file may
not say that the file has changed: another job's file of the same name would be used. An input that
no class declares is ignored, but part of that key.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping
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

    def found(texts: Iterable[str]) -> set[str]:
        return {name for path in map(_as_path, texts) for name in by_path.get(path, ())}

    return with_content_input(graph, KEY, digests, found)


def with_content_input(
    graph: Graph,
    key: str,
    digests: Mapping[str, str],
    found: Callable[[Iterable[str]], set[str]],
) -> Graph:
    """`graph`, in which each node with inputs whose texts name some of `digests`, as `found` says,
    has these in a further input `key`.
    """
    document = {}
    for node_id, node in graph.document.items():
        if names := found(texts_in(node["inputs"])):
            text = "\n".join(f"{digests[name]} {name}" for name in sorted(names))
            digest = hashlib.sha256(text.encode()).hexdigest()
            node = {**node, "inputs": {**node["inputs"], key: digest}}
        document[node_id] = node
    return parse_workflow(document, place="of the job")


def texts_in(inputs: Mapping[str, Any]) -> Iterator[str]:
    """The texts in the inputs of a node, at any depth, in no particular order."""
    left: list[Any] = list(inputs.values())
    while left:
        value = left.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, list | dict):
            left += value.values() if isinstance(value, dict) else value


def _as_path(text: str) -> str:
    """A text in an input of a node, read as the path of an input file."""
    for annotation in ANNOTATIONS:
        text = text.removesuffix(annotation)
    return posixpath.normpath(text.rstrip())


def _with_folders(name: str) -> list[str]:
    """`a`, `a/b` and `a/b/c` for `a/b/c`."""
    parts = name.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
