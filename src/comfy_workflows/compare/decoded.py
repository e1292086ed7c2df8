"""Decoded files as tracks: a picture's frames, or the streams of a video or a sound.

A file is decoded again each time that a track is read, one frame at a time, so that memory does
not depend on its length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from comfy_files.json_model import Strict

Opener = Callable[[], BinaryIO]
Pixels = npt.NDArray[Any]

MOST_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 89_478_485)
"""The most pixels that one frame may have: Pillow's own limit against decompression bombs."""


class UndecodableError(Exception):
    """A file that cannot be decoded; the message is the end of a sentence."""


class Facts(Strict):
    """What is worth knowing about a decoded file, as far as it applies to it."""

    width: int | None = None
    height: int | None = None
    mode: str | None = None
    frames: int | None = None
    duration_s: float | None = None
    sample_rate: int | None = None
    channels: int | None = None


@dataclass(frozen=True, kw_only=True)
class Part:
    """A frame, or some samples.

    `array` has the shape (height, width, channels) or (samples, channels). `timing_ms` is when a
    frame of a video is shown, for how long a frame of a picture is shown, and 0 for samples.
    """

    array: Pixels
    timing_ms: int = 0


@dataclass(frozen=True, kw_only=True)
class Track:
    """The frames of a picture, or one stream of a file.

    `exact` yields what its hash is made of: a video's frames as they were coded, in the shape of
    their planes. `visible` yields what measures compare: frames as RGB or RGBA, of 8 or 16 bits
    for each channel or as floats, or samples. Both raise UndecodableError and OSError.
    """

    kind: Literal["picture", "video", "audio"]
    facts: Facts
    exact: Callable[[], Iterator[Part]]
    visible: Callable[[], Iterator[Part]]


def full_scale(array: Pixels) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The values as parts of the full scale: 1.0 is white, or the loudest sample."""
    if np.issubdtype(array.dtype, np.integer):
        return array.astype(np.float64) / float(np.iinfo(array.dtype).max)
    return array.astype(np.float64)
