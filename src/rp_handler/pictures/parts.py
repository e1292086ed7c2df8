"""The parts of picture files: chunks of PNG and WebP, segments of JPEG.

Each iterator gives the kind of every part and the part as it is in the file, and raises ValueError
for a file that is damaged.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Literal

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
WEBP_HEADER_BYTES = 12
START_OF_SCAN = 0xDA


def format_of(content: bytes) -> Literal["png", "jpeg", "webp"] | None:
    """The format of a file, None for another one."""
    if content.startswith(PNG):
        return "png"
    if content.startswith(JPEG):
        return "jpeg"
    return "webp" if content[:4] == b"RIFF" and content[8:12] == b"WEBP" else None


def png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each with its length before it, and its checksum after it: 4 bytes, its kind, 4 bytes."""
    at, kind = len(PNG), b""
    while kind != b"IEND":
        kind = content[at + 4 : at + 8]
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        require(len(kind) == 4 and end <= len(content))
        yield kind, content[at:end]
        at = end


def png_chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(kind + body).to_bytes(4, "big")
    return len(body).to_bytes(4, "big") + kind + body + checksum


def jpeg_segments(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Each with its marker and its length, 2 bytes each, before it. The last one is the first scan,
    with everything after it.
    """
    at = len(JPEG)
    while True:
        require(at + 4 <= len(content) and content[at] == 0xFF)
        marker = content[at + 1]
        if marker == START_OF_SCAN:
            yield marker, content[at:]
            return
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        require(at + 4 <= end <= len(content))
        yield marker, content[at:end]
        at = end


def jpeg_segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


def webp_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each with its kind and its length, 4 bytes each, before it, and a byte more after an odd
    length.
    """
    end_of_file = 8 + int.from_bytes(content[4:8], "little")
    require(end_of_file <= len(content))
    at = WEBP_HEADER_BYTES
    while at + 8 <= end_of_file:
        kind, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        require(at + 8 + size <= end_of_file)
        end = at + 8 + size + size % 2
        yield kind, content[at:end]
        at = end


def webp_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + len(body).to_bytes(4, "little") + body + bytes(len(body) % 2)


def webp_file(chunks: list[bytes]) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def require(holds: bool) -> None:
    """Raises ValueError if a condition that every such file fulfils does not hold."""
    if not holds:
        raise ValueError("the file is damaged")
