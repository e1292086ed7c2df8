"""Outputs as base64 in the result document itself."""

from __future__ import annotations

import base64
from pathlib import Path, PurePath
from typing import Any

from rp_handler.interruption import in_thread
from rp_handler.outputs.sink import OutputSink


class Base64Sink(OutputSink):
    """Puts the files into the result document itself."""

    async def put(self, path: Path, place: PurePath) -> dict[str, Any]:  # noqa: ARG002
        data = await in_thread(lambda: base64.b64encode(path.read_bytes()).decode("ascii"))
        return {"type": "base64", "data": data}
