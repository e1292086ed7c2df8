"""Files inside the page, as far as browsers show them and there is room."""

from __future__ import annotations

import base64
import io
import os
import warnings
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from comfy_files.progress import readable_size
from comfy_workflows.compare.content import tracks_of
from comfy_workflows.compare.decoded import UndecodableError
from comfy_workflows.compare.output import Output
from comfy_workflows.report.difference import picture_of

ROOM_BYTES = 64 << 20
_PICTURE_BYTES = 12 << 20
_LONGEST_SIDE = 2048
# Formats of pictures that every browser shows, as Pillow names them.
_SHOWN = frozenset({"PNG", "JPEG", "WEBP", "GIF"})
_VECTOR = "image/svg+xml"
# What browsers play, and how they know it.
_PLAYED = {
    **{mime: mime for mime in ("video/mp4", "video/webm", "audio/mpeg", "audio/mp4", "audio/ogg")},
    **{mime: mime for mime in ("audio/aac", "audio/webm", "audio/wav", "audio/flac")},
    # Close relatives; whether one can be played is up to what is inside.
    "video/quicktime": "video/mp4",
    "video/x-matroska": "video/webm",
    "audio/x-wav": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/x-flac": "audio/flac",
    "audio/opus": "audio/ogg",
    "audio/x-m4a": "audio/mp4",
    "audio/m4a": "audio/mp4",
}


class NotShownError(Exception):
    """A file that the page cannot hold; the message is a sentence's end."""


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """A file in the page: its data URI. `note` says how it differs from the output itself;
    `width` is in pixels, 0 if it is not known.
    """

    kind: Literal["picture", "video", "audio"]
    uri: str
    width: int = 0
    note: str = ""


class Room:
    """How many bytes of files the page still takes."""

    def __init__(self, room_bytes: int = ROOM_BYTES) -> None:
        self.whole_bytes = room_bytes
        self._left_bytes = room_bytes

    def take(self, size_bytes: int) -> None:
        """Raises NotShownError if there is not so much room."""
        if size_bytes > self._left_bytes:
            raise NotShownError(
                f"there is no room for its {readable_size(size_bytes)}; this page holds "
                f"{readable_size(self.whole_bytes)} of files"
            )
        self._left_bytes -= size_bytes


def embedded(output: Output, room: Room) -> Embedded | None:
    """The output as a picture, video or sound in the page; None if it is nothing of them.

    Raises NotShownError.
    """
    kind = output.mime.partition("/")[0]
    if kind not in ("image", "video", "audio"):
        return None
    if output.open is None:
        raise NotShownError(output.unreadable)
    try:
        if kind == "image":
            return _picture(output, room)
        if output.mime not in _PLAYED:
            raise NotShownError(f"browsers do not play {output.mime}")
        content = _read(output, room)
    except OSError as error:
        raise NotShownError(f"its file could not be read: {error.strerror or error}") from error
    return Embedded(
        kind="video" if kind == "video" else "audio", uri=_uri(_PLAYED[output.mime], content)
    )


def as_png(picture: Image.Image, room: Room) -> str:
    """The picture as a data URI. Raises NotShownError."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    room.take(stream.tell())
    return _uri("image/png", stream.getvalue())


def small_enough(picture: Image.Image) -> Image.Image:
    """The picture, scaled down to 2048 pixels if it is wider or higher."""
    if max(picture.size) <= _LONGEST_SIDE:
        return picture
    smaller = picture.copy()
    smaller.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    return smaller


def size_bytes(output: Output) -> int:
    """The size of its file. Raises OSError."""
    assert output.open is not None, "it can be read"
    with output.open() as stream:
        return stream.seek(0, os.SEEK_END)


def _picture(output: Output, room: Room) -> Embedded:
    if output.mime == _VECTOR:
        # As a picture its scripts do not run, and it loads nothing.
        return Embedded(kind="picture", uri=_uri(_VECTOR, _read(output, room)))
    found = _format_and_width(output)
    if found is not None and size_bytes(output) <= _PICTURE_BYTES:
        name, width = found
        content = _read(output, room)
        return Embedded(kind="picture", uri=_uri(Image.MIME[name], content), width=width)
    return _drawn_again(output, room)


def _drawn_again(output: Output, room: Room) -> Embedded:
    assert output.open is not None, "it can be read"
    try:
        tracks = tracks_of(output.open, "pixels")
        first = next(tracks[0].visible(), None) if tracks else None
        if first is None:
            raise NotShownError("it has no picture")
        picture = picture_of(first.array)
    except UndecodableError as error:
        raise NotShownError(str(error)) from error
    shown = small_enough(picture)
    note = "Drawn again as a PNG for this page, with 8 bits for each channel."
    if shown is not picture:
        size = f"{picture.width}×{picture.height}"
        note = f"Scaled down from {size} for this page."
    return Embedded(kind="picture", uri=as_png(shown, room), width=shown.width, note=note)


def _format_and_width(output: Output) -> tuple[str, int] | None:
    """None for a picture that browsers do not show, or that is too large for a page."""
    assert output.open is not None, "it can be read"
    with output.open() as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(stream) as picture:
                small = max(picture.size) <= _LONGEST_SIDE
                shown = small and picture.format in _SHOWN
                return (str(picture.format), picture.width) if shown else None
        except Exception:
            # Pillow's readers raise errors of many kinds for a broken file.
            return None


def _read(output: Output, room: Room) -> bytes:
    room.take(size_bytes(output))
    assert output.open is not None, "it can be read"
    with output.open() as stream:
        return stream.read()


def _uri(mime: str, content: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"
