"""The header of a safetensors file, which says where each tensor's bytes are.

The format is described in the README of huggingface/safetensors: 8 bytes with the header's length,
little-endian; the header, a JSON object; then the tensors' bytes, without gaps.
"""

from __future__ import annotations

import json
from typing import Any

LENGTH_BYTES = 8
# `MAX_HEADER_SIZE` of the library, which does not read a longer header.
_LONGEST_BYTES = 100_000_000
# A hundred thousand tensors. A longer header would take hundreds of megabytes of memory.
_LONGEST_PARSED_BYTES = 16 * 1024 * 1024
_CUT = "its end is missing, or the file was damaged"


def fault_of_header(head: bytes, size: int | None) -> str | None:
    """Why a file of `size` bytes that starts with `head` is not a safetensors file, as the end of a
    sentence that starts with the file; None if nothing is wrong with what is there.

    Of a header that goes beyond `head` only the length is checked.
    """
    if size is not None and size < LENGTH_BYTES:
        return f"has {size} bytes, which is too short for a safetensors file"
    if len(head) < LENGTH_BYTES:
        return None
    length = int.from_bytes(head[:LENGTH_BYTES], "little")
    if length > _LONGEST_BYTES or head[LENGTH_BYTES : LENGTH_BYTES + 1] not in (b"", b"{"):
        return "is not a safetensors file: it does not start with a header"
    if size is not None and LENGTH_BYTES + length > size:
        return (
            f"is not a whole safetensors file: its header has {length:,} bytes, the file {size:,}"
        )
    if LENGTH_BYTES + length > len(head) or length > _LONGEST_PARSED_BYTES:
        return None
    try:
        header = json.loads(head[LENGTH_BYTES : LENGTH_BYTES + length])
        ends = _ends(header)
    except (ValueError, RecursionError):
        return "is not a safetensors file: its header is not valid"
    expected = LENGTH_BYTES + length + ends
    if size is not None and size != expected:
        reason = _CUT if size < expected else "something was added to it"
        return f"has {size:,} bytes, but its header describes {expected:,}: {reason}"
    return None


def header_end(head: bytes) -> int:
    """Where the header of a file ends that starts with `head`, as far as it is ever parsed."""
    length = int.from_bytes(head[:LENGTH_BYTES], "little")
    return LENGTH_BYTES + min(length, _LONGEST_PARSED_BYTES)


def _ends(header: Any) -> int:
    """The size of all tensors, in bytes. Raises ValueError if the header is not valid."""
    if not isinstance(header, dict):
        raise ValueError("not an object")
    ranges = [_range(entry) for name, entry in header.items() if name != "__metadata__"]
    end = 0
    for start, stop in sorted(ranges):
        if start != end:
            raise ValueError("a gap or an overlap")
        end = stop
    return end


def _range(entry: Any) -> tuple[int, int]:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    match offsets:
        case [int(start), int(stop)] if 0 <= start <= stop:
            return start, stop
    raise ValueError("no offsets")
