"""Makes the engine's cache tell apart what was made with a model of a job from what was not.

A name alone does not: it may stand in a prompt, as `embedding:x` does, which is the same text
whether or not the job has such a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from comfy_workflows.graph import Graph
from rp_handler.inputs.cache_key import with_content_input

KEY = "comfy_model_sha256"


def with_model_digests(graph: Graph, digests: Mapping[str, str]) -> Graph:
    """`graph`, in which each node with a text that has the name of one of a job's models, or of a
    folder of it, has their sha256 in a further input; `digests` are those of all models by path.
    """
    if not digests:
        return graph
    words = {path: _words(path) for path in digests}

    def found(texts: Iterable[str]) -> set[str]:
        plain = [text.casefold() for text in texts]
        return {
            path
            for path, its in words.items()
            if any(word in text for word in its for text in plain)
        }

    return with_content_input(graph, KEY, digests, found)


def _words(path: str) -> list[str]:
    """`faces` and `x` for `loras/faces/x.safetensors`."""
    _, *folders = PurePosixPath(path).parts
    return [word.casefold() for word in (*folders[:-1], PurePosixPath(path).stem)]
