"""Makes the demo's upscale model: a RealESRGAN-compact network that doubles a picture.

    python versions/demo/make_upscaler.py versions/demo/models/bicubic-2x-compact.safetensors

Nothing is trained. The weights are worked out so that the network computes bicubic
interpolation (Catmull-Rom, as Pillow's `BICUBIC`), and the file is the same whenever and
wherever it is made. The names of the tensors are SRVGGNetCompact's
(https://github.com/xinntao/Real-ESRGAN), by which spandrel, and so ComfyUI, recognises them:

    body.0, body.1   3x3 convolution, PReLU    the picture, and a constant 1
    body.2, body.3   3x3 convolution, PReLU    differences between neighbouring pixels
    body.4           3x3 convolution           the four new pixels of each old one
    and then: pixel shuffle, plus the picture with every pixel doubled

A convolution sees zeros beyond the border, which would darken the edges of the picture. So the
second layer works with differences, and holds each of them twice: as the positive and as the
negative part, which PReLU with slope 0 makes. The constant 1 is missing beyond the border too,
and there pulls both parts below zero. All differences across the border thus are 0, as if the
outermost pixels went on for ever.

Every weight is a small number over a power of two. With pixels that are multiples of 1/256, all
sums are exact in float32, and so the result is the same on every processor.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

Weights = NDArray[np.float32]

COLOURS = 3
ONE = COLOURS
"""The feature of the first layer that is constant; the features before it are the colours."""

DIRECTIONS = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}
SIGNS = (1, -1)
FEATURES = COLOURS * len(DIRECTIONS) * len(SIGNS)

TAPS = {-2: -3 / 128, -1: 29 / 128, 0: 111 / 128, 1: -9 / 128}
"""Catmull-Rom's weights for the new pixel that lies a quarter of a pixel before an old one.

By distance from the old pixel. For the new pixel a quarter after it the distances change sign.
"""


def feature(colour: int, direction: str, sign: int) -> int:
    """Which feature of the second layer holds that part of that difference."""
    return (list(DIRECTIONS).index(direction) * len(SIGNS) + SIGNS.index(sign)) * COLOURS + colour


def picture_and_one() -> tuple[Weights, Weights]:
    """Weight and bias of the first convolution."""
    weight = np.zeros((FEATURES, COLOURS, 3, 3), np.float32)
    bias = np.zeros(FEATURES, np.float32)
    for colour in range(COLOURS):
        weight[colour, colour, 1, 1] = 1
    bias[ONE] = 1
    return weight, bias


def differences() -> tuple[Weights, Weights]:
    """Weight and bias of the second convolution: each neighbour minus the pixel itself."""
    weight = np.zeros((FEATURES, FEATURES, 3, 3), np.float32)
    bias = np.zeros(FEATURES, np.float32)
    for direction, (down, right) in DIRECTIONS.items():
        for sign in SIGNS:
            for colour in range(COLOURS):
                out = feature(colour, direction, sign)
                weight[out, colour, 1 + down, 1 + right] = sign
                weight[out, colour, 1, 1] = -sign
                # Together 0 within the picture, and -2 beyond its border.
                weight[out, ONE, 1 + down, 1 + right] = 2
                bias[out] = -2
    return weight, bias


def new_pixels() -> tuple[Weights, Weights]:
    """Weight and bias of the last convolution.

    Of each new pixel it gives what bicubic interpolation adds to the old pixel: a weighted sum
    of other old pixels, each minus this one. Such a difference is a chain of steps between
    neighbours. The chains stay within the 3x3 that the convolution sees.
    """
    weight = np.zeros((4 * COLOURS, FEATURES, 3, 3), np.float32)
    for colour in range(COLOURS):
        for new_row in (0, 1):
            for new_column in (0, 1):
                # Pixel shuffle takes the four new pixels of a colour from channels side by side.
                out = colour * 4 + new_row * 2 + new_column
                for far_down, tap_down in TAPS.items():
                    for far_right, tap_right in TAPS.items():
                        down = -far_down if new_row else far_down
                        right = -far_right if new_column else far_right
                        for row, column, direction, share in steps_to(down, right):
                            amount = tap_down * tap_right * share
                            for sign in SIGNS:
                                part = feature(colour, direction, sign)
                                weight[out, part, 1 + row, 1 + column] += sign * amount
    return weight, np.zeros(4 * COLOURS, np.float32)


def steps_to(down: int, right: int) -> list[tuple[int, int, str, int]]:
    """The steps (row, column, direction, 1 or -1) from (0, 0) to a pixel at most 2 away.

    Row and column are where a step starts, and at most 1 away. No step that starts there leads to
    a corner at (2, 2): the plane through the three pixels before it stands for that pixel, whose
    weight is 9/16384.
    """
    inner_down, inner_right = max(-1, min(1, down)), max(-1, min(1, right))
    if down != inner_down and right != inner_right:
        back = [(row, column, way, -1) for row, column, way, _ in steps_to(inner_down, inner_right)]
        return steps_to(down, inner_right) + steps_to(inner_down, right) + back
    steps = []
    row = column = 0
    for next_row, next_column in (
        (inner_down, 0),
        (inner_down, inner_right),
        (down, right),
    ):
        move = (next_row - row, next_column - column)
        for direction, offset in DIRECTIONS.items():
            if move == offset:
                steps.append((row, column, direction, 1))
        row, column = next_row, next_column
    return steps


def make() -> bytes:
    """The whole .safetensors file."""
    tensors = {}
    for place, layer in enumerate((picture_and_one, differences, new_pixels)):
        tensors[f"body.{2 * place}.weight"], tensors[f"body.{2 * place}.bias"] = layer()
    # The picture is never negative, so that the first slope does not matter.
    for slopes in ("body.1.weight", "body.3.weight"):
        tensors[slopes] = np.zeros(FEATURES, np.float32)
    return save(tensors)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: make_upscaler.py FILE.safetensors")
    Path(sys.argv[1]).write_bytes(make())
