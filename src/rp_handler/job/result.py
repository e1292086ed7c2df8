"""The job's output document, as in docs/contracts.md: from the engine's history to files in a sink.
For the smoke test `{}` it reports the engine, devices and counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import Any

from comfy_files.user_paths import real
from comfy_workflows.graph import Graph
from rp_handler.engine.client import EngineClient
from rp_handler.engine.command import EngineFolders
from rp_handler.engine.kept_outputs import NodeOutputs
from rp_handler.engine.process import Engine
from rp_handler.engine.prompt import Timings, entries_of
from rp_handler.engine.supervisor import Run
from rp_handler.errors import JobError
from rp_handler.home.realized import Home
from rp_handler.job.delivery import Delivery, OutputFile
from rp_handler.job.device import device_of

# Folders of the core that hold something other than models.
_NOT_MODELS = frozenset({"configs", "custom_nodes"})


async def result_document(
    home: Home, engine: Engine, graph: Graph, run: Run, delivery: Delivery
) -> dict[str, Any]:
    """The document of a run, after the delivery of each of its files."""
    document = _empty_document(home, engine)
    document["timings"] = asdict(run.timings)
    document["warnings"] += run.warnings
    if run.peak_vram_bytes is not None:
        document["memory"] = {"peak_vram_bytes": run.peak_vram_bytes}
    if run.node_hashes is not None:
        document["node_hashes"] = [node.model_dump() for node in run.node_hashes]
    await add_outputs(document, run.outputs, graph, delivery)
    return document


async def add_outputs(
    document: dict[str, Any],
    outputs: Mapping[str, NodeOutputs],
    graph: Graph,
    delivery: Delivery,
) -> None:
    """Adds the outputs of nodes, in the order of the graph: each entry with a `filename`, under any
    key, and texts. Previews come after all results.

    Raises JobError for a file outside the engine's folders: no node may deliver other files of the
    machine that way.
    """
    order = {node: number for number, node in enumerate(graph.nodes)}
    results: list[OutputFile] = []
    previews: list[OutputFile] = []
    for node in sorted(outputs, key=lambda one: order.get(one, len(order))):
        for entry in entries_of(outputs[node].shown):
            if isinstance(entry, str):
                document["text"].append({"node": node, "text": entry})
                continue
            file = output_file(node, entry, outputs[node].folders)
            if file is None:
                fault = f"Node {node} names an output file that does not exist: {_inner(entry)}."
                document["warnings"].append(fault)
            else:
                (previews if entry.get("type") == "temp" else results).append(file)
    for made in await delivery.deliver([*results, *previews]):
        document["images" if made["mime"].startswith("image/") else "files"].append(made)
    document["warnings"] += delivery.warnings


def output_file(node: str, entry: Mapping[str, Any], folders: EngineFolders) -> OutputFile | None:
    """The file that a node names in the history; None if it does not exist. Raises JobError for one
    outside the engine's folders.
    """
    folder, inner = str(entry.get("type") or "output"), _inner(entry)
    path = _locate(node, folder, inner, folders)
    if path is None:
        return None
    return OutputFile(
        node=node,
        subfolder=str(entry.get("subfolder") or ""),
        path=path,
        # A preview and a result may have the same name, in different folders.
        place=inner if folder == "output" else folder / inner,
    )


def _inner(entry: Mapping[str, Any]) -> PurePath:
    return PurePath(str(entry.get("subfolder") or ""), entry["filename"])


def _locate(node: str, kind: str, inner: PurePath, folders: EngineFolders) -> Path | None:
    """The file `inner` in one of the engine's folders; None if it does not exist."""
    kinds = {"output": folders.output, "temp": folders.temp, "input": folders.input}
    folder = kinds.get(kind)
    if folder is None:
        return None
    path = real(folder / inner)
    # A path that leaves the folder and returns is refused too: a sink repeats it below its own
    # folder.
    leaves = inner.is_absolute() or ".." in inner.parts
    if leaves or not path.is_relative_to(real(folder)):
        raise JobError(
            f"Node {node} names an output outside the engine's folders: {inner}.",
            remedy="Use a file name prefix without '..' and without a leading '/'.",
            details={"node": node},
        )
    return path if path.is_file() else None


async def smoke_report(home: Home, engine: Engine) -> dict[str, Any]:
    """A result document without outputs, and with `devices` and `counts` of nodes and models."""
    async with EngineClient(engine) as client:
        classes = await client.get("/object_info") or {}
        folders = [name for name in await client.get("/models") or [] if name not in _NOT_MODELS]
        models = [await client.get(f"/models/{name}") or [] for name in folders]
    system = engine.stats.get("system") or {}
    document = _empty_document(home, engine)
    document["version"] |= {
        "python": str(system.get("python_version", "")).split(" ", 1)[0] or None,
        "torch": system.get("pytorch_version"),
    }
    document["timings"]["start_ms"] = engine.start_ms
    document["devices"] = [
        {"name": one.get("name"), "type": one.get("type"), "memory_bytes": one.get("vram_total")}
        for one in engine.stats.get("devices") or ()
    ]
    document["counts"] = {"nodes": len(classes), "models": sum(len(files) for files in models)}
    return document


def _empty_document(home: Home, engine: Engine) -> dict[str, Any]:
    return {
        "images": [],
        "files": [],
        "text": [],
        "models": [],
        "timings": asdict(Timings()),
        "version": {
            "id": home.manifest.version_id,
            "lock": home.manifest.lock_digest,
            "image": home.image,
            "comfyui": (engine.stats.get("system") or {}).get("comfyui_version"),
            **({"locked": "strict"} if home.is_locked else {}),
        },
        "device": device_of(engine.stats),
        "warnings": [],
    }
