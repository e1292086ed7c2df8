"""The smoke test `{}`: a started engine, asked what it is."""

from __future__ import annotations

from typing import Any

from rp_handler.engine.client import EngineClient
from rp_handler.engine.process import Engine
from rp_handler.engine.prompt_events import Timings
from rp_handler.home.realized import Home
from rp_handler.job.outputs import Outputs
from rp_handler.job.result import result_document, version_document
from rp_handler.job.sinks import OutputSink

# Folders of the core that hold something else than models.
_NOT_MODELS = frozenset({"configs", "custom_nodes"})


async def smoke_report(home: Home, engine: Engine, sink: OutputSink) -> dict[str, Any]:
    """A result document without outputs, and with `devices` and `counts` of nodes and models."""
    async with EngineClient(engine) as client:
        classes = await client.get("/object_info") or {}
        folders = [name for name in await client.get("/models") or [] if name not in _NOT_MODELS]
        models = [await client.get(f"/models/{name}") or [] for name in folders]
    system = engine.stats.get("system") or {}
    document = result_document(
        Outputs(files=(), texts=(), warnings=()),
        sink,
        timings=Timings(queue_ms=0, run_ms=0, nodes={}),
        version={
            **version_document(home, engine.stats),
            "python": str(system.get("python_version", "")).split(" ", 1)[0] or None,
            "torch": system.get("pytorch_version"),
        },
        warnings=(),
    )
    document["timings"]["start_ms"] = engine.start_ms
    document["devices"] = [
        {"name": one.get("name"), "type": one.get("type"), "memory_bytes": one.get("vram_total")}
        for one in engine.stats.get("devices") or ()
    ]
    document["counts"] = {"nodes": len(classes), "models": sum(len(files) for files in models)}
    return document
