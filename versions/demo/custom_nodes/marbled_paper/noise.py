"""Gradient noise of which every bit follows from the seed.

Only `+ - * / sqrt floor` on float32 and integer arithmetic are used, here and in the modules
beside it. IEEE 754 defines their results to the last bit, so every machine draws the same
picture; sines and powers come from the platform's mathematics library and would differ.
A Python number takes the type of the array that it meets, so everything stays float32.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating]
"""Values on a grid of points, always float32."""

_CELLS = 256
_LARGEST = _CELLS - 1


def random_integers(seed: int, count: int) -> list[int]:
    """`count` integers of 64 bits that follow from `seed`.

    SplitMix64 (Steele, Lea and Flood, 2014), because NumPy's generators may change their
    streams from one release to the next.
    """
    mask = (1 << 64) - 1
    state = seed & mask
    numbers = []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & mask
        number = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & mask
        numbers.append(number ^ (number >> 31))
    return numbers


class Noise:
    """Ken Perlin's improved noise (2002) and its fractal sum, for one seed."""

    def __init__(self, seed: int) -> None:
        order = list(range(_CELLS))
        for step, number in enumerate(random_integers(seed, _LARGEST)):
            last = _LARGEST - step
            other = number % (last + 1)
            order[last], order[other] = order[other], order[last]
        self._order = np.array(order + order, dtype=np.int32)

        around = [(x, y) for x in range(-4, 5) for y in range(-4, 5) if 9 <= x * x + y * y <= 17]
        slopes = np.array(around, dtype=np.float32)
        slopes /= np.sqrt((slopes * slopes).sum(axis=1, keepdims=True))
        self._slopes = slopes[np.arange(_CELLS) % len(slopes)]

    def at(self, x: Field, y: Field) -> Field:
        """Smooth values between about -1 and 1 at the points (x, y); a cell is one unit wide."""
        left, top = np.floor(x), np.floor(y)
        dx, dy = x - left, y - top
        column, row = left.astype(np.int32) & _LARGEST, top.astype(np.int32) & _LARGEST

        def corner(right: int, down: int) -> Field:
            cell = self._order[self._order[column + right] + ((row + down) & _LARGEST)]
            slope = self._slopes[cell]
            height: Field = slope[..., 0] * (dx - right) + slope[..., 1] * (dy - down)
            return height

        across, down = _ease(dx), _ease(dy)
        upper = _blend(corner(0, 0), corner(1, 0), across)
        lower = _blend(corner(0, 1), corner(1, 1), across)
        height: Field = 1.5 * _blend(upper, lower, down)
        return height

    def fractal(self, x: Field, y: Field, octaves: int) -> Field:
        """The sum of `octaves` noises, each twice as fine and half as strong as the one before."""
        total = np.zeros_like(x)
        for octave in range(octaves):
            # Another part of the plane for each, or all of them would be zero at the same corners.
            shift = 19.25 * octave
            total += 0.5 ** (octave + 1) * self.at(x + shift, y + shift)
            x, y = x + x, y + y
        return total


def _ease(t: Field) -> Field:
    """Perlin's quintic: 0 to 1 with no slope and no bend at either end."""
    bend: Field = t * (t * 6 - 15) + 10
    return t * t * t * bend


def _blend(first: Field, second: Field, share: Field) -> Field:
    return first + share * (second - first)
