"""Where two pictures differ: the frame that is farthest apart, and a map of it in colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from comfy_workflows.compare.decoded import Pixels, Track, full_scale
from comfy_workflows.compare.measures import finite

COLOURS = (
    *("#3d7bff", "#7a5cff", "#b44bff", "#e844c8"),
    *("#ff4d8d", "#ff6b4a", "#ff9e2c", "#ffe14d"),
)
"""Of differences of less than 2 steps of 255, less than 4, and so on; blue to yellow."""
_GREYS = 32
_BRIGHTEST_GREY = 80
_LONGEST_SIDE = 1024
_STRIP_ROWS = 256
# Few pixels are drawn as dots, which have at most this part of the map's longest side, and together
# this part of its area.
_DOT_SIDE = 1 / 60
_DOTS_AREA = 0.1

Steps = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Stills:
    """Two frames of equal shape. `number` counts from 1 to `count`; `steps` is the largest
    difference of a channel of each pixel, in steps of 1/255 of the full scale.
    """

    before: Pixels
    after: Pixels
    steps: Steps
    number: int
    count: int

    def place(self) -> str:
        """`12 of 1,024 pixels differ, all between (3, 4) and (20, 31)`; counted from 0."""
        rows, columns = np.nonzero(self.steps)
        ends = ((columns.min(), rows.min()), (columns.max(), rows.max()))
        first, last = (f"({x}, {y})" for x, y in ends)
        where = f"at {first}" if first == last else f"between {first} and {last}"
        verb = "differs" if len(rows) == 1 else "differ"
        return f"{len(rows):,} of {self.steps.size:,} pixels {verb}, {where}"


def farthest_apart(before: Sequence[Track], after: Sequence[Track]) -> Stills | None:
    """The frames of two files that differ most; None if there are none of equal shape that do.

    Raises UndecodableError and OSError.
    """
    seen = [
        next((track for track in tracks if track.kind != "audio"), None)
        for tracks in (before, after)
    ]
    if seen[0] is None or seen[1] is None:
        return None
    found: dict[str, Any] = {}
    largest, count = 0.0, 0
    for one, other in zip_longest(seen[0].visible(), seen[1].visible()):
        if one is None or other is None:
            break
        count += 1
        if one.array.shape != other.array.shape or one.array.dtype != other.array.dtype:
            continue
        steps = _steps(one.array, other.array)
        mean = float(np.mean(np.square(steps)))
        if mean > largest:
            largest = mean
            found = {"before": one.array, "after": other.array, "steps": steps, "number": count}
    return Stills(**found, count=count) if found else None


def map_of(stills: Stills) -> tuple[Image.Image, bool]:
    """The differences in colours, on the later frame in dark grey; and whether pixels were drawn as
    dots, because they are few. At most 1024 pixels wide or high: each pixel of a smaller map shows
    the largest difference of its field.
    """
    steps = stills.steps
    factor = -(-max(steps.shape) // _LONGEST_SIDE)
    bands = _bands(_largest_in_fields(steps, factor))
    dot = _dot_pixels(bands)
    if dot > 1:
        bands = np.asarray(Image.fromarray(bands).filter(ImageFilter.MaxFilter(dot)))
    size = (bands.shape[1], bands.shape[0])
    grey = picture_of(stills.after).convert("L").resize(size, Image.Resampling.BOX)
    indices = np.asarray(grey) // (256 // _GREYS)
    drawn = Image.fromarray(np.where(bands, bands + (_GREYS - 1), indices).astype(np.uint8), "P")
    greys = [round(each * _BRIGHTEST_GREY / (_GREYS - 1)) for each in range(_GREYS)]
    palette = [level for grey_level in greys for level in (grey_level,) * 3]
    palette += [int(colour[at : at + 2], 16) for colour in COLOURS for at in (1, 3, 5)]
    drawn.putpalette(palette)
    return drawn, dot > 1


def picture_of(pixels: Pixels) -> Image.Image:
    """The pixels with 8 bits for each channel, as browsers show them."""
    if pixels.dtype != np.uint8:
        values = np.nan_to_num(full_scale(pixels), nan=0.0, posinf=1.0, neginf=0.0)
        pixels = (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)
    return Image.fromarray(pixels if pixels.shape[-1] in (3, 4) else pixels[..., 0])


def _steps(before: Pixels, after: Pixels) -> Steps:
    steps = np.zeros(before.shape[:2], dtype=np.float32)
    # In strips of rows: memory stays bounded.
    for row in range(0, len(steps), _STRIP_ROWS):
        rows = slice(row, row + _STRIP_ROWS)
        if np.array_equal(before[rows], after[rows]):
            continue
        difference = np.abs(finite(before[rows]) - finite(after[rows]))
        steps[rows] = difference.max(axis=-1, initial=0) * 255
    return steps


def _largest_in_fields(steps: Steps, factor: int) -> Steps:
    if factor == 1:
        return steps
    height, width = (-(-side // factor) for side in steps.shape)
    padded = np.zeros((height * factor, width * factor), dtype=np.float32)
    padded[: steps.shape[0], : steps.shape[1]] = steps
    largest: Steps = padded.reshape(height, factor, width, factor).max(axis=(1, 3))
    return largest


def _dot_pixels(bands: npt.NDArray[np.uint8]) -> int:
    """The side of a dot: odd, and 1 if the pixels are many."""
    count = int(np.count_nonzero(bands))
    side = min(max(bands.shape) * _DOT_SIDE, math.sqrt(_DOTS_AREA * bands.size / max(count, 1)))
    return max(int(side) // 2 * 2 + 1, 1)


def _bands(steps: Steps) -> npt.NDArray[np.uint8]:
    """0 where nothing differs, else the number of the colour, from 1."""
    bands = np.floor(np.log2(np.clip(steps, 1, 255))) + 1
    return np.where(steps > 0, bands, 0).astype(np.uint8)
