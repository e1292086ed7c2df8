"""Whole safetensors files for tests."""

from __future__ import annotations

import json


def safetensors(content: bytes) -> bytes:
    """A safetensors file whose one tensor is `content`."""
    tensor = {"dtype": "U8", "shape": [len(content)], "data_offsets": [0, len(content)]}
    header = json.dumps({"weights": tensor}).encode()
    return len(header).to_bytes(8, "little") + header + content
