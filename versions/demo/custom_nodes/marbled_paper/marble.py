"""Marbled paper: inks on water, drawn out by currents, gilded, and lit from the upper left.

The currents are Inigo Quilez' domain warping (https://iquilezles.org/articles/warp): noise is
read at points that other noises have pushed about. See `noise` for why so little of
mathematics is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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
    def shorter_side(self) -> int:
        return min(self.width, self.height)

    @property
    def pixel(self) -> float:
        """The width of a pixel in cells of noise: the shorter side spans `scale` cells."""
        return self.scale / self.shorter_side


def paint(marble: Marble) -> Field:
    """Draws the picture: [height, width, 3], sRGB, each value a multiple of 1/256 from 0 to 1.

    With such values later steps that only weigh and add pixels, in any order, are exact too.
    """
    noise = Noise(marble.seed)
    inks = ramp(marble.palette, _RAMP_STEPS)
    strips = []
    for top in range(0, marble.height, _STRIP_ROWS):
        x, y = _points(marble, top, min(top + _STRIP_ROWS, marble.height))
        strips.append(_colour(marble, noise, inks, _thickness(marble, noise, x, y)))
    levels = np.sqrt(np.clip(np.concatenate(strips), 0, 1)) * 256
    picture: Field = np.floor(levels + 0.5) / 256
    return picture


def _points(marble: Marble, top: int, bottom: int) -> tuple[Field, Field]:
    """Where the pixels of some rows lie, and one more on each side, from which slopes follow."""
    columns = np.arange(-1, marble.width + 1, dtype=np.float32) - marble.width / 2
    rows = np.arange(top - 1, bottom + 1, dtype=np.float32) - marble.height / 2
    x, y = np.meshgrid(columns * marble.pixel, rows * marble.pixel)
    return x, y


def _thickness(marble: Marble, noise: Noise, x: Field, y: Field) -> Field:
    """How thickly ink lies at some points: the warped noise, with its middle at 0.5."""
    # Each layer of noise looks at its own part of the plane.
    shifts = [number % 4096 / 32 for number in random_integers(~marble.seed, 10)]
    parts = iter(zip(shifts[::2], shifts[1::2], strict=True))

    def layer(x: Field, y: Field) -> Field:
        right, down = next(parts)
        return noise.fractal(x + right, y + down, marble.detail)

    drift_x, drift_y = marble.swirl * layer(x, y), marble.swirl * layer(x, y)
    fold_x, fold_y = layer(x + drift_x, y + drift_y), layer(x + drift_x, y + drift_y)
    ridge = layer(x + marble.swirl * fold_x, y + marble.swirl * fold_y)
    thickness: Field = 0.5 + ridge + 0.45 * fold_x + 0.15 * drift_y
    return thickness


def _colour(marble: Marble, noise: Noise, inks: Field, thickness: Field) -> Field:
    """Linear light, [rows, columns, 3], of a field that is one pixel larger on each side."""
    ink = thickness[1:-1, 1:-1]
    slope_x = (thickness[1:-1, 2:] - thickness[1:-1, :-2]) / (2 * marble.pixel)
    slope_y = (thickness[2:, 1:-1] - thickness[:-2, 1:-1]) / (2 * marble.pixel)
    # By how much the thickness differs from one pixel to the next.
    change = np.sqrt(slope_x * slope_x + slope_y * slope_y) * marble.pixel

    tilt = -0.3 * marble.relief
    diffuse, glint = _light(tilt * slope_x, tilt * slope_y)

    # The palette goes to and fro with the thickness; uneven layers shift it, as in agate.
    turns = ink * 1.5
    turns = 1 - np.abs(turns - 2 * np.floor(turns / 2) - 1)
    layers = noise.fractal(ink * marble.bands, np.full_like(ink, 0.37), 4)
    layers *= _visible(change * (4 * marble.bands))
    place = np.clip(turns + 0.55 * layers, 0, 1) * (_RAMP_STEPS - 1)
    shine = 0.18 * marble.relief * glint
    paper: Field = (
        inks[place.astype(np.int32)] * (0.3 + 0.7 * diffuse)[..., None] + shine[..., None]
    )

    gold = np.array(_GOLD, dtype=np.float32) * (0.45 + 0.75 * diffuse + 1.2 * glint)[..., None]
    paper += _gilded(marble, ink, change)[..., None] * (gold - paper)
    return paper


def _gilded(marble: Marble, ink: Field, change: Field) -> Field:
    """The share of each pixel, 0 to 1, under the gold lines along which ink is equally thick."""
    lines = ink * 2
    away = np.abs(lines - np.floor(lines + 0.5)) / 2
    away_px = away / (change + 1e-6)
    half_width_px = marble.gold * marble.shorter_side / 2000
    # A line narrower than a pixel covers a share of it.
    cover: Field = np.clip(half_width_px + 0.5 - away_px, 0, min(1, 2 * half_width_px))
    cover *= _visible(change * 10)
    return cover


def _visible(periods_per_pixel: Field) -> Field:
    """1 for what is broad, towards 0 for what is finer than pixels and would only shimmer."""
    return 1 / (1 + periods_per_pixel * periods_per_pixel)


def _light(tilt_x: Field, tilt_y: Field) -> tuple[Field, Field]:
    """How brightly a surface of that tilt is lit (flat: 1), and how much it gleams (0 to 1)."""
    length = np.sqrt(tilt_x * tilt_x + tilt_y * tilt_y + 1)

    def towards(direction: tuple[float, float, float]) -> Field:
        x, y, z = direction
        return np.maximum((tilt_x * x + tilt_y * y + z) / length, 0)

    glint = towards(_HALFWAY)
    for _ in range(5):
        glint = glint * glint
    return towards(_LIGHT) / _LIGHT[2], glint
