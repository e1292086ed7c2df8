"""The difference that a person accepts: `max=1`, or `psnr=40,ssim=0.99`."""

from __future__ import annotations

import math
from dataclasses import dataclass

from comfy_errors import InvalidInputError
from comfy_workflows.compare.measures import Measures

_EXAMPLE = "Write it like max=1 or psnr=40,ssim=0.99."
# The measure's own name, and the range of its bound.
_BOUNDS = {"max": (0.0, 255.0), "psnr": (0.0, math.inf), "ssim": (-1.0, 1.0)}


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """Bounds, of which at least one is given; all that are given have to hold.

    `max` is the largest difference of a channel in steps of 1/255, at most; `psnr` decibels and
    `ssim` the similarity, at least.
    """

    max: float | None = None
    psnr: float | None = None
    ssim: float | None = None

    def accepts(self, found: Measures) -> bool:
        """True if each bound holds. A sound has no SSIM, so a bound of SSIM alone accepts none."""
        held = []
        if self.max is not None:
            held.append(found.max_difference <= self.max)
        if self.psnr is not None:
            held.append(found.psnr_db is None or found.psnr_db >= self.psnr)
        if self.ssim is not None and found.ssim is not None:
            held.append(found.ssim >= self.ssim)
        return bool(held) and all(held)

    def in_words(self) -> str:
        """As it is written: `psnr=40,ssim=0.99`."""
        given = ((name, getattr(self, name)) for name in _BOUNDS)
        return ",".join(f"{name}={value:g}" for name, value in given if value is not None)


def parse_tolerance(text: str) -> Tolerance:
    """The tolerance that is written as `text`. Raises InvalidInputError."""
    bounds: dict[str, float] = {}
    for part in text.split(","):
        name, separator, number = (each.strip() for each in part.partition("="))
        if not separator or name not in _BOUNDS:
            raise InvalidInputError(f'the tolerance has "{part.strip()}"', remedy=_EXAMPLE)
        if name in bounds:
            raise InvalidInputError(f'the tolerance has "{name}" twice', remedy=_EXAMPLE)
        least, most = _BOUNDS[name]
        try:
            bounds[name] = float(number)
        except ValueError as error:
            fault = f'the tolerance\'s "{name}" is "{number}", which is not a number'
            raise InvalidInputError(fault, remedy=_EXAMPLE) from error
        if not least <= bounds[name] <= most or math.isinf(bounds[name]):
            wanted = f"at least {least:g}" if math.isinf(most) else f"from {least:g} to {most:g}"
            fault = f'the tolerance\'s "{name}" is {number}, and must be a number {wanted}'
            raise InvalidInputError(fault, remedy=_EXAMPLE)
    return Tolerance(**bounds)
