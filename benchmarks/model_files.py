"""Model files to download and to verify: whole safetensors with one tensor of random bytes."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class BenchModel:
    """`path` is where the file is now; `sha256` and `size` are what the spec says of it."""

    path: Path
    sha256: str
    size: int

    def in_spec(self, source: str) -> dict[str, object]:
        """The model as a spec has it, with where it comes from."""
        return {
            "name": self.path.name,
            "source": source,
            "target_subdir": "checkpoints",
            "checksum": f"sha256:{self.sha256}",
            "size": self.size,
        }


def write_model(path: Path, data_bytes: int) -> BenchModel:
    """Makes the file, with so many bytes of data; no two files are equal."""
    tensor = {"dtype": "U8", "shape": [data_bytes], "data_offsets": [0, data_bytes]}
    header = json.dumps({"data": tensor}).encode()
    block = os.urandom(min(_BLOCK_BYTES, data_bytes))
    content = hashlib.sha256()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for piece in (len(header).to_bytes(8, "little"), header):
            file.write(piece)
            content.update(piece)
        left = data_bytes
        while left:
            # The number keeps the blocks of a file apart.
            piece = (left.to_bytes(8, "little") + block)[: min(left, len(block))]
            file.write(piece)
            content.update(piece)
            left -= len(piece)
    return BenchModel(path=path, sha256=content.hexdigest(), size=path.stat().st_size)
