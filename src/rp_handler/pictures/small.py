"""Pictures that have to fit into a message."""

from __future__ import annotations

import io

_SIDE = 512
_QUALITY = 75


def small_picture(content: bytes, mime: str, limit_bytes: int) -> tuple[bytes, str] | None:
    """A picture of at most `limit_bytes`, and its type: `content` itself, else a smaller JPEG of
    it. None if it cannot be read, or even that is too large.
    """
    if len(content) <= limit_bytes:
        return content, mime
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            image.thumbnail((_SIDE, _SIDE))
            image.convert("RGB").save(made := io.BytesIO(), format="JPEG", quality=_QUALITY)
    except Exception:
        # Pillow's decoders raise anything for a file that is damaged.
        return None
    return (made.getvalue(), "image/jpeg") if made.tell() <= limit_bytes else None
