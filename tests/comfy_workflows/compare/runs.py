"""Runs as result documents, without an engine."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from comfy_workflows.compare.content import Content, content_of
from comfy_workflows.compare.run import Run, run_of

LOCK = "sha256:" + "a" * 64
WORKFLOW = "sha256:" + "b" * 64
CPU = {"name": "cpu", "type": "cpu", "platform": "linux-x86_64", "processor": "a CPU"}
GPU = {"name": "NVIDIA L4", "type": "cuda", "platform": "linux-x86_64", "driver": "580.65"}
_MIMES = {
    **{"png": "image/png", "webp": "image/webp", "exr": "image/x-exr", "svg": "image/svg+xml"},
    **{"mp4": "video/mp4", "webm": "video/webm", "mkv": "video/x-matroska"},
    **{"flac": "audio/flac", "wav": "audio/x-wav", "ogg": "audio/ogg"},
    **{"json": "application/json", "glb": "model/gltf-binary"},
}


def file(content: bytes, name: str = "x.png", *, node: str = "6") -> dict[str, Any]:
    """The entry of an output file in a result document."""
    return {
        "node": node,
        "filename": name,
        "subfolder": "",
        "type": "base64",
        "data": base64.b64encode(content).decode(),
        "mime": _MIMES[name.rpartition(".")[2]],
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def result(*files: dict[str, Any], text: str = "", **changes: Any) -> dict[str, Any]:
    """A result document with these files and a text."""
    images = [each for each in files if each["mime"].startswith("image/")]
    usual = {
        "images": images,
        "files": [each for each in files if each not in images],
        "text": [{"node": "9", "text": text}] if text else [],
        "version": {"id": "demo", "lock": LOCK, "image": None, "comfyui": "0.3.75"},
        "device": CPU,
        "warnings": [],
    }
    return usual | changes


def run(*files: dict[str, Any], **changes: Any) -> Run:
    return run_of(result(*files, **changes))


def content(of: bytes, mime: str) -> Content:
    from io import BytesIO

    return content_of(lambda: BytesIO(of), mime=mime, sha256=hashlib.sha256(of).hexdigest())
