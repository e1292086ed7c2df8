"""glTF without what says who made it: `asset.generator` and `asset.extras`."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

from comfy_workflows.compare.decoded import UndecodableError

_MAGIC, _JSON_CHUNK = b"glTF", b"JSON"
_MOST_JSON_BYTES = 1 << 26
_CHUNK_BYTES = 1 << 20


def gltf_parts(stream: BinaryIO) -> Iterator[bytes]:
    """What counts of a glTF file, as text or binary. Raises UndecodableError and OSError."""
    start = stream.read(20)
    if not start.startswith(_MAGIC):
        yield _without_origin(start + stream.read(_MOST_JSON_BYTES + 1))
        return
    if len(start) < 20 or start[16:] != _JSON_CHUNK:
        raise UndecodableError("it is a broken glTF file")
    (size_bytes,) = struct.unpack("<I", start[12:16])
    yield _without_origin(stream.read(min(size_bytes, _MOST_JSON_BYTES + 1)))
    while chunk := stream.read(_CHUNK_BYTES):
        yield chunk


def _without_origin(text: bytes) -> bytes:
    if len(text) > _MOST_JSON_BYTES:
        raise UndecodableError("its JSON is longer than 64 MiB")
    try:
        document: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UndecodableError("its JSON is broken") from error
    asset = document.get("asset") if isinstance(document, dict) else None
    if isinstance(asset, dict):
        asset.pop("generator", None)
        asset.pop("extras", None)
    return json.dumps(document, sort_keys=True).encode()
