"""Files that are in the job itself, as base64 or as a data URI."""

from __future__ import annotations

import base64
import contextlib
import re
from urllib.parse import unquote_to_bytes

_PNG, _JPEG, _RIFF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF"
_END_OF_JPEG = b"\xff\xd9"
_OTHER = re.compile(r"[^A-Za-z0-9+/=]")


def decoded(value: str) -> bytes:
    """The bytes of base64, which may follow `data:…,` or any text and a comma; line breaks do not
    matter. Raises ValueError, which says what is wrong as the end of a sentence.
    """
    head, comma, body = value.partition(",")
    if head[:5].lower() == "data:":
        if not comma:
            raise ValueError("is a data URI without a comma and content after it")
        if not head.lower().endswith(";base64"):
            return _complete(unquote_to_bytes(body.encode("utf-8", "replace")))
    return _complete(_from_base64(body if comma else value))


def _from_base64(text: str) -> bytes:
    with contextlib.suppress(ValueError):
        return base64.b64decode(text, validate=True)
    # It has line breaks, or a fault.
    plain = "".join(text.split())
    if other := _OTHER.search(plain):
        raise ValueError(f"is neither base64 nor a URL: it has the character {other[0]!a}")
    try:
        return base64.b64decode(plain, validate=True)
    except ValueError:
        raise ValueError("is base64 that is cut off or damaged") from None


def _complete(content: bytes) -> bytes:
    if not content:
        raise ValueError("has no content")
    if is_cut_off(content):
        raise ValueError("is an image that is cut off")
    return content


def is_cut_off(content: bytes) -> bool:
    """True for a PNG, JPEG or WebP image without its end. The engine would fill it with grey."""
    if content.startswith(_PNG):
        return not _has_end_of_png(content)
    if content.startswith(_JPEG):
        return not content.rstrip(b"\0").endswith(_END_OF_JPEG) and not _can_be_read(content)
    if content.startswith(_RIFF) and content[8:12] == b"WEBP":
        return int.from_bytes(content[4:8], "little") + 8 > len(content)
    return False


def _has_end_of_png(content: bytes) -> bool:
    at = len(_PNG)
    # A chunk has its length, its kind, its bytes and a checksum.
    while at + 12 <= len(content):
        kind = content[at + 4 : at + 8]
        at += 12 + int.from_bytes(content[at : at + 4], "big")
        if kind == b"IEND":
            return at <= len(content)
    return False


def _can_be_read(content: bytes) -> bool:
    """True also for what is no image: then the engine says so."""
    import io

    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except OSError:
        return False
    except Exception:
        return True
    return True
