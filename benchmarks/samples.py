"""Timings of one thing, repeated, and how two of them compare."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

_IN_MS_BELOW_S = 0.05


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
        digits, scale, unit = 2 if self.median >= 1 else 3, 1, "s"
        if self.median < _IN_MS_BELOW_S:
            digits, scale, unit = 1, 1000, "ms"
        median, least, most = (
            f"{seconds * scale:.{digits}f}"
            for seconds in (self.median, self.least, max(self.seconds))
        )
        if len(self.seconds) == 1:
            return f"{median} {unit} (1 run)"
        return f"{median} {unit} ({least}–{most}, {len(self.seconds)} runs)"

    def plus(self, other: Samples) -> Samples:
        """Two things done one after the other, run by run."""
        return Samples([a + b for a, b in zip(self.seconds, other.seconds, strict=True)])


# Less than this cannot be told from the noise of starting a program.
_NOISE_S = 0.1


def growth_ratio(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """What an item costs in the last step of `sizes` over what it costs in the first one.

    1.0 is flat. `sizes` are three numbers of items, rising; `seconds` what each took in all.
    A step that takes less than a tenth of a second counts as a tenth.
    """
    small, middle, large = sizes
    first = max(seconds[1] - seconds[0], _NOISE_S) / (middle - small)
    last = max(seconds[2] - seconds[1], _NOISE_S) / (large - middle)
    return last / first
