"""The job's output document of the contracts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rp_handler.engine.prompt_events import Timings
from rp_handler.home.realized import Home
from rp_handler.job.outputs import Outputs
from rp_handler.job.sinks import OutputSink


def result_document(
    outputs: Outputs,
    sink: OutputSink,
    *,
    timings: Timings,
    version: Mapping[str, Any],
    warnings: tuple[str, ...],
) -> dict[str, Any]:
    """The document, after every file has been given to `sink`."""
    images: list[dict[str, Any]] = []
    files: list[dict[str, Any]] = []
    for output in outputs.files:
        entry = {
            "filename": output.filename,
            "subfolder": output.subfolder,
            "node": output.node,
            **sink.put(output),
            "mime": output.mime,
            "bytes": output.size_bytes,
            "sha256": output.sha256,
        }
        (images if output.is_image else files).append(entry)
    return {
        "images": images,
        "files": files,
        "text": [{"node": text.node, "text": text.text} for text in outputs.texts],
        "timings": {
            "queue_ms": timings.queue_ms,
            "run_ms": timings.run_ms,
            "nodes": dict(timings.nodes),
        },
        "version": dict(version),
        "warnings": [*warnings, *outputs.warnings],
    }


def version_document(home: Home, stats: Mapping[str, Any]) -> dict[str, Any]:
    """`version` of the document: what ran. `image` is for images to fill in."""
    return {
        "id": home.manifest.version_id,
        "lock": home.manifest.lock_digest,
        "image": None,
        "comfyui": (stats.get("system") or {}).get("comfyui_version"),
    }
