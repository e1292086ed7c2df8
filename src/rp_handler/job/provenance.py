"""What a job's outputs were made from, for its result and for the pictures themselves."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_files.files import sha256_of
from comfy_workflows.graph import Graph, workflow_digest
from comfy_workflows.model_files import is_there
from rp_handler import __version__
from rp_handler.home.realized import Home
from rp_handler.inputs.cache_key import texts_in
from rp_handler.inputs.names import fault_of_name
from rp_handler.job.device import device_of
from rp_handler.job.models import models_in_result

if TYPE_CHECKING:
    from rp_handler.engine.process import Engine

NAME, PROMPT = "provenance", "prompt"
"""The texts of a picture: this document, and the graph, as ComfyUI calls it."""

SCHEMA = "runpod-comfy/provenance/1"

_NO_GRAPHS = "--disable-metadata"


def provenance_of(
    graph: Graph, home: Home, engine: Engine, inputs: Mapping[str, str], input_folder: Path
) -> dict[str, Any]:
    """The document of a job that runs `graph`; `inputs` are the sha256 of the files that it brought
    along, by name.

    Reads its other input files, and models that were never verified. `models` is None for a version
    that was never checked. Raises OSError.
    """
    is_known = home.recorded_classes is not None
    digests = {**_named_inputs(graph, input_folder, known=inputs), **inputs}
    return {
        "schema": SCHEMA,
        "version": {
            "id": home.manifest.version_id,
            "lock": home.manifest.lock_digest,
            "image": home.image,
            "comfyui": (engine.stats.get("system") or {}).get("comfyui_version"),
            "handler": __version__,
        },
        "workflow": workflow_digest(graph),
        "models": models_in_result(graph, home, may_read=True) if is_known else None,
        "inputs": [{"name": name, "sha256": it} for name, it in sorted(digests.items())],
        "device": device_of(engine.stats),
    }


def texts_for_pictures(provenance: Mapping[str, Any], graph: Graph, home: Home) -> dict[str, str]:
    """The texts that pictures get: the graph too, unless the version keeps graphs out of them."""
    texts = {NAME: json.dumps(provenance)}
    if _NO_GRAPHS not in home.manifest.comfy_args:
        texts[PROMPT] = json.dumps(graph.document)
    return texts


def _named_inputs(graph: Graph, folder: Path, *, known: Collection[str]) -> dict[str, str]:
    """The sha256 of the files in the input folder that nodes name, or a folder of which they name,
    by their names, without those that are `known`.
    """
    found = {
        path.relative_to(folder).as_posix(): path
        for node in graph.nodes.values()
        for text in texts_in(node.inputs)
        for path in _files(text.removesuffix("[input]").rstrip(), folder)
    }
    return {name: sha256_of(path) for name, path in found.items() if name not in known}


def _files(name: str, folder: Path) -> Iterator[Path]:
    if fault_of_name(name) is not None:
        return
    path = folder / name
    if is_there(path):
        yield path
    elif path.is_dir():
        yield from (each for each in path.rglob("*") if each.is_file())
