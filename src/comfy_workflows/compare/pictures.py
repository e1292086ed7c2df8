"""Pictures as pixels, by Pillow; by FFmpeg where Pillow cannot read them, or not in full depth."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageSequence, UnidentifiedImageError

from comfy_workflows.compare.decoded import (
    MOST_PIXELS,
    Facts,
    Opener,
    Part,
    Pixels,
    Track,
    UndecodableError,
)
from comfy_workflows.compare.media import picture_track

_EIGHT_BITS = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa"})
# The bits of a sample follow the signature, the length and name of the first chunk, and the size.
_PNG_DEPTH_AT = 24
_BITS_PER_SAMPLE = 258  # A tag of TIFF.


def picture_tracks(open_file: Opener) -> list[Track]:
    """The one track of a picture. Raises UndecodableError and OSError."""
    try:
        with _opened(open_file) as picture:
            if not _is_deeper_than_read(picture, open_file):
                return [_track(open_file, picture)]
    except UnidentifiedImageError:
        pass
    return [picture_track(open_file)]


def _track(open_file: Opener, picture: Image.Image) -> Track:
    def frames() -> Iterator[Part]:
        with _opened(open_file) as picture:
            for frame in ImageSequence.Iterator(picture):
                pixels = _pixels(frame)
                # WebP's reader knows the duration once it has read the frame.
                shown_ms = round(float(frame.info.get("duration") or 0))
                yield Part(array=pixels, timing_ms=shown_ms)

    facts = Facts(
        width=picture.width,
        height=picture.height,
        mode=picture.mode,
        frames=getattr(picture, "n_frames", 1),
    )
    return Track(kind="picture", facts=facts, exact=frames, visible=frames)


@contextmanager
def _opened(open_file: Opener) -> Iterator[Image.Image]:
    """The picture; raises UnidentifiedImageError if it is none, UndecodableError if it is broken.

    Pillow's readers raise errors of many kinds for a broken file.
    """
    with open_file() as stream:
        try:
            with _read_header(stream) as picture:
                yield picture
        except (UnidentifiedImageError, UndecodableError):
            raise
        except Image.DecompressionBombError as error:
            raise UndecodableError(f"it has more than {MOST_PIXELS:,} pixels") from error
        except Exception as error:
            raise UndecodableError(f"it is broken: {error}") from error


def _read_header(stream: BinaryIO) -> Image.Image:
    with warnings.catch_warnings():
        # Between half the limit and the limit, Pillow only warns.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(stream)


def _is_deeper_than_read(picture: Image.Image, open_file: Opener) -> bool:
    """True if Pillow would keep only 8 of more bits."""
    if picture.mode not in _EIGHT_BITS:
        return False
    if picture.format == "PNG":
        with open_file() as stream:
            return stream.read(_PNG_DEPTH_AT + 1)[_PNG_DEPTH_AT] > 8
    if picture.format == "TIFF":
        bits: tuple[int, ...] = picture.tag_v2.get(_BITS_PER_SAMPLE, (8,))  # type: ignore[attr-defined]
        return max(bits) > 8
    return False


def _pixels(frame: Image.Image) -> Pixels:
    """RGBA of 8 or 16 bits, so that palettes and greys compare with colours; other modes as they
    are.
    """
    if frame.mode in _EIGHT_BITS:
        return np.asarray(frame.convert("RGBA"))
    values = np.asarray(frame)
    if frame.mode.startswith("I;16"):
        grey = values.astype(np.uint16)
        return np.stack([grey, grey, grey, np.full_like(grey, 2**16 - 1)], axis=-1)
    return values if values.ndim == 3 else values[..., np.newaxis]
