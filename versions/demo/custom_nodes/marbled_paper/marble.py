"""Marbled paper: inks on water, drawn out by currents, gilded, and lit from the upper left.

The currents are Inigo Quilez' domain warping (https://iquilezles.org/articles/warp): noise is
read at points that other noises have pushed about. See `noise` for why so little of
mathematics is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .noise import Field, Noise, random_integers
from .palettes import ramp

# A strip of this many rows keeps the intermediate fields in the processor's cache,
# and the memory for a large picture small.
_STRIP_ROWS = 64
_RAMP_STEPS = 4096

_LIGHT = (-0.48, -0.60, 0.64)
_HALFWAY = (-0.265, -0.331, 0.906)
"""Unit vectors towards the light, and halfway between it and the eye."""

_GOLD = (0.74, 0.38, 0.07)


@dataclass(frozen=True, kw_only=True)
class Marble:
    """What to draw. `width` and `height` are in pixels; the node's tooltips explain the rest."""

    width: int
    height: int
    seed: int
    palette: str
    scale: float
    swirl: float
    detail: int
    bands: float
    gold: float
    relief: float

    @property
    def pixel(self) -> np.float32:
        """The width of a pixel in cells of noise: the shorter side spans `scale` cells."""
        return np.float32(self.scale / min(self.width, self.height))


def paint(marble: Marble) -> NDArray[np.float32]:
    """Draw the picture: float32 [height, width, 3], sRGB, each value a multiple of 1/256.

    With such values later steps that only weigh and add pixels, in any order, are exact too.
    """
    noise = Noise(marble.seed)
    inks = ramp(marble.palette, _RAMP_STEPS)
    strips = []
    for top in range(0, marble.height, _STRIP_ROWS):
        bottom = min(top + _STRIP_ROWS, marble.height)
        x, y = _points(marble, top, bottom)
        strips.append(_colour(marble, noise, inks, _height_of_ink(marble, noise, x, y)))
    levels = np.sqrt(np.clip(np.concatenate(strips), 0, 1)) * np.float32(256)
    picture: NDArray[np.float32] = np.floor(levels + np.float32(0.5)) / np.float32(256)
    return picture


def _points(marble: Marble, top: int, bottom: int) -> tuple[Field, Field]:
    """Where the pixels of some rows lie, with one more pixel on each side for the slopes."""
    columns = np.arange(-1, marble.width + 1, dtype=np.float32) - np.float32(marble.width / 2)
    rows = np.arange(top - 1, bottom + 1, dtype=np.float32) - np.float32(marble.height / 2)
    x, y = np.meshgrid(columns * marble.pixel, rows * marble.pixel)
    return x, y


def _height_of_ink(marble: Marble, noise: Noise, x: Field, y: Field) -> Field:
    """The warped field that both the colours and the relief follow; its middle is 0.5."""
    shifts = [np.float32(number % 4096 / 32) for number in random_integers(~marble.seed, 10)]
    layers = iter(zip(shifts[::2], shifts[1::2], strict=True))

    def layer(x: Field, y: Field) -> Field:
        right, down = next(layers)
        return noise.fractal(x + right, y + down, marble.detail)

    swirl = np.float32(marble.swirl)
    drift_x, drift_y = swirl * layer(x, y), swirl * layer(x, y)
    x_1, y_1 = x + drift_x, y + drift_y
    fold_x, fold_y = layer(x_1, y_1), layer(x_1, y_1)
    ridge = layer(x + swirl * fold_x, y + swirl * fold_y)
    return np.float32(0.5) + ridge + np.float32(0.45) * fold_x + np.float32(0.15) * drift_y


def _colour(marble: Marble, noise: Noise, inks: Field, height: Field) -> Field:
    """Linear light, [rows, columns, 3], of a field that is one pixel larger on each side."""
    ink = height[1:-1, 1:-1]
    slope_x = (height[1:-1, 2:] - height[1:-1, :-2]) / (np.float32(2) * marble.pixel)
    slope_y = (height[2:, 1:-1] - height[:-2, 1:-1]) / (np.float32(2) * marble.pixel)

    steepness = np.sqrt(slope_x * slope_x + slope_y * slope_y) * marble.pixel

    # The palette goes to and fro with the height; uneven layers shift it, as in agate.
    turns = ink * np.float32(1.5)
    turns = turns - np.float32(2) * np.floor(turns * np.float32(0.5))
    layers = noise.fractal(ink * np.float32(marble.bands), np.full_like(ink, 0.37), 4)
    layers *= _visible(steepness * np.float32(4 * marble.bands))
    place = np.float32(1) - np.abs(turns - np.float32(1)) + np.float32(0.55) * layers
    colour = inks[(np.clip(place, 0, 1) * np.float32(_RAMP_STEPS - 1)).astype(np.int32)]

    tilt = np.float32(-0.3 * marble.relief)
    diffuse, glint = _light(tilt * slope_x, tilt * slope_y)
    shine = np.float32(0.18 * marble.relief) * glint
    lit = colour * (np.float32(0.3) + np.float32(0.7) * diffuse)[..., None] + shine[..., None]
    if marble.gold == 0:
        return lit

    lines = ink * np.float32(2)
    away = np.abs(lines - np.floor(lines + np.float32(0.5))) * np.float32(0.5)
    away_px = away / (steepness + np.float32(1e-6))
    half_width_px = np.float32(marble.gold * min(marble.width, marble.height) / 2000)
    cover = np.clip(half_width_px + np.float32(0.5) - away_px, 0, 1)
    cover *= _visible(steepness * np.float32(10))
    sheen = np.float32(0.45) + np.float32(0.75) * diffuse + np.float32(1.2) * glint
    gilt = np.array(_GOLD, dtype=np.float32) * sheen[..., None]
    return lit + cover[..., None] * (gilt - lit)


def _visible(periods_per_pixel: Field) -> Field:
    """1 for what is broad, towards 0 for what is finer than pixels and would only shimmer."""
    return np.float32(1) / (np.float32(1) + periods_per_pixel * periods_per_pixel)


def _light(tilt_x: Field, tilt_y: Field) -> tuple[Field, Field]:
    """How brightly a surface of that tilt is lit (flat is 1), and how much it gleams (0 to 1)."""
    length = np.sqrt(tilt_x * tilt_x + tilt_y * tilt_y + np.float32(1))

    def towards(vector: tuple[float, float, float]) -> Field:
        x, y, z = (np.float32(part) for part in vector)
        return np.maximum((tilt_x * x + tilt_y * y + z) / length, np.float32(0))

    glint = towards(_HALFWAY)
    for _ in range(5):
        glint = glint * glint
    return towards(_LIGHT) / np.float32(_LIGHT[2]), glint
