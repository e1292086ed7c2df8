"""Timings of one thing, repeated, and how two of them compare."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Samples:
    """Wall times in seconds, at least one."""

    seconds: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def least(self) -> float:
        return min(self.seconds)

    @property
    def text(self) -> str:
        """`3.21 s (3.10–3.40, 3 runs)`: median, least, most."""
        digits = 2 if self.median >= 1 else 3
        if len(self.seconds) == 1:
            return f"{self.median:.{digits}f} s (1 run)"
        return (
            f"{self.median:.{digits}f} s "
            f"({self.least:.{digits}f}–{max(self.seconds):.{digits}f}, {len(self.seconds)} runs)"
        )

    def plus(self, other: Samples) -> Samples:
        """Two things done one after the other, run by run."""
        return Samples([a + b for a, b in zip(self.seconds, other.seconds, strict=True)])


# Less than this for an item cannot be told from the noise of starting a program.
_LEAST_S = 0.0005


def growth_ratio(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """What an item costs in the last step of `sizes` over what it costs in the first one.

    1.0 is flat. `sizes` are three numbers of items, rising; `seconds` what each took in all.
    An item counts as half a millisecond at least.
    """
    small, middle, large = sizes
    first = (seconds[1] - seconds[0]) / (middle - small)
    last = (seconds[2] - seconds[1]) / (large - middle)
    return max(last, _LEAST_S) / max(first, _LEAST_S)
