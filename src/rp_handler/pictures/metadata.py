"""What pictures say of how they were made: ComfyUI's graphs, in PNG and in Exif.

In a PNG they are text chunks, `prompt` and `workflow`. In Exif, each is the text `name:value` of a
tag: the prompt in Model, all others from Make downwards, as ComfyUI's SaveAnimatedWEBP has it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from rp_handler.pictures.parts import (
    JPEG,
    PNG,
    format_of,
    jpeg_segments,
    png_chunks,
    webp_chunks,
    webp_file,
)

if TYPE_CHECKING:
    from PIL.Image import Exif, Image

_MODEL, _MAKE = 0x0110, 0x010F
# What is below is not text.
_LOWEST = 0x010B
FIELD_TAGS = range(_LOWEST, _MODEL + 1)
FIELD = re.compile(r"(?P<name>[\w .-]{1,79}):(?P<value>.*)", re.DOTALL)
# Of a segment of JPEG, without its length: https://www.w3.org/Graphics/JPEG/itu-t81.pdf, B.1.1.4.
JPEG_SEGMENT_BYTES = 65_533

# The chunks that a decoder shows the picture with: https://www.w3.org/TR/png-3/#11Chunks.
_SHOWN_OF_PNG = frozenset(
    b"IHDR PLTE IDAT IEND tRNS cHRM gAMA iCCP sBIT sRGB cICP mDCV cLLI bKGD hIST pHYs sPLT "
    b"acTL fcTL fdAT".split()
)
_SHOWN_OF_WEBP = frozenset((b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"))
_EXIF_AND_XMP_FLAGS = 0x08 | 0x04


def fields_of(image: Image) -> dict[str, str]:
    """The texts in an opened `image` by their names, the prompt first."""
    texts = getattr(image, "text", None)
    if texts is None:
        found = dict(fields_of_exif(image.getexif()))
    else:
        found = {name: str(text) for name, text in texts.items() if FIELD.fullmatch(f"{name}:")}
    return dict(sorted(found.items(), key=lambda it: (it[0] != "prompt", it[0] != "workflow")))


def exif_with(exif: Exif, fields: Mapping[str, str], *, is_jpeg: bool) -> tuple[bytes, list[str]]:
    """`exif` with texts added, and the names of those that had no room."""
    left_out = []
    tags = iter(range(_MAKE, _LOWEST - 1, -1))
    for name, text in fields.items():
        tag = _MODEL if name == "prompt" else next(tags, None)
        if tag is None:
            left_out.append(name)
            continue
        before = exif.get(tag)
        exif[tag] = f"{name}:{_in_ascii(text)}"
        if is_jpeg and len(exif.tobytes()) > JPEG_SEGMENT_BYTES:
            left_out.append(name)
            if before is None:
                del exif[tag]
            else:
                exif[tag] = before
    return exif.tobytes(), left_out


def without_fields(exif: Exif) -> bytes:
    """`exif` without ComfyUI's texts."""
    for tag in list(dict(_tags_with_fields(exif))):
        del exif[tag]
    return exif.tobytes()


def without_metadata(content: bytes) -> bytes | None:
    """A PNG, JPEG or WebP file without its metadata; None for another format.

    The picture itself, its colour profile and its frames stay as they are, byte for byte. Raises
    ValueError for a file that is damaged.
    """
    kind = format_of(content)
    if kind == "png":
        shown = (chunk for name, chunk in png_chunks(content) if name in _SHOWN_OF_PNG)
        return PNG + b"".join(shown)
    if kind == "jpeg":
        segments = jpeg_segments(content)
        return JPEG + b"".join(it for marker, it in segments if _is_shown_of_jpeg(marker, it[4:]))
    return webp_file([*_bare_chunks_of_webp(content)]) if kind == "webp" else None


def _in_ascii(text: str) -> str:
    """`text` for a tag of Exif, which is ASCII; JSON says the same in it."""
    if text.isascii():
        return text
    try:
        return json.dumps(json.loads(text))
    except (ValueError, RecursionError):
        return text.encode("ascii", "backslashreplace").decode("ascii")


def _tags_with_fields(exif: Exif) -> Iterator[tuple[int, re.Match[str]]]:
    for tag in reversed(FIELD_TAGS):
        text = exif.get(tag)
        if isinstance(text, str) and (found := FIELD.fullmatch(text)):
            yield tag, found


def fields_of_exif(exif: Exif) -> Iterator[tuple[str, str]]:
    """ComfyUI's texts by their names."""
    for _, found in _tags_with_fields(exif):
        yield found["name"], found["value"]


def _is_shown_of_jpeg(marker: int, body: bytes) -> bool:
    """Of the segments for applications: JFIF, the colour profile, and Adobe's colour transform."""
    if marker == 0xE2:
        return body.startswith(b"ICC_PROFILE\0")
    return marker in (0xE0, 0xEE) or not (0xE0 <= marker <= 0xEF or marker == 0xFE)


def _bare_chunks_of_webp(content: bytes) -> Iterator[bytes]:
    for kind, it in webp_chunks(content):
        if kind in _SHOWN_OF_WEBP:
            chunk = bytearray(it)
            if kind == b"VP8X" and len(chunk) > 8:
                chunk[8] &= ~_EXIF_AND_XMP_FLAGS
            yield bytes(chunk)
