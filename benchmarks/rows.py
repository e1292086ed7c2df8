"""A row of the table: what was measured for a target, and whether the target is met."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.samples import Samples


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison. `measured` is in the unit of `wanted`; `met` is None for mere context.

    `samples` are the timings behind it by name, ours first. `done` is False where it could not be
    measured; `measured` then says why.
    """

    target: int
    what: str
    measured: str
    wanted: str
    met: bool | None
    samples: Mapping[str, Samples] = field(default_factory=dict)
    done: bool = True

    @property
    def verdict(self) -> str:
        if not self.done:
            return "not measured"
        return {True: "met", False: "**missed**", None: "context"}[self.met]


def not_measured(target: int, what: str, *, wanted: str, why: str) -> Row:
    return Row(target=target, what=what, measured=why, wanted=wanted, met=None, done=False)


def faster(
    target: int,
    what: str,
    *,
    ours: tuple[str, Samples],
    theirs: tuple[str, Samples],
    at_least: float | None = None,
) -> Row:
    """How many times as fast ours is; without `at_least` it is context."""
    ratio = theirs[1].median / ours[1].median
    return Row(
        target=target,
        what=what,
        measured=f"{ratio:.2f}×",
        wanted=f"≥ {at_least:g}×" if at_least else "–",
        met=None if at_least is None else ratio >= at_least,
        samples=dict([ours, theirs]),
    )


def ratio_at_most(
    target: int,
    what: str,
    *,
    ours: tuple[str, Samples],
    beside: tuple[str, Samples],
    at_most: float,
) -> Row:
    """How long ours takes, measured in what it is set beside."""
    ratio = ours[1].median / beside[1].median
    return Row(
        target=target,
        what=what,
        measured=f"{ratio:.2f}×",
        wanted=f"≤ {at_most:g}×",
        met=ratio <= at_most,
        samples=dict([ours, beside]),
    )


def seconds_at_most(target: int, what: str, *, ours: tuple[str, Samples], at_most: float) -> Row:
    """Wall time against a fixed number of seconds, which holds on a machine like the target's."""
    median = ours[1].median
    return Row(
        target=target,
        what=what,
        measured=f"{median:.2f} s",
        wanted=f"≤ {at_most:g} s",
        met=median <= at_most,
        samples=dict([ours]),
    )


def added_at_most(
    target: int,
    what: str,
    *,
    ours: tuple[str, Samples],
    beside: tuple[str, Samples],
    at_most_ms: float | None = None,
) -> Row:
    """How much longer ours takes, in milliseconds; without `at_most_ms` it is context."""
    added_ms = (ours[1].median - beside[1].median) * 1000
    return Row(
        target=target,
        what=what,
        measured=f"{added_ms:+.1f} ms",
        wanted="–" if at_most_ms is None else f"≤ +{at_most_ms:g} ms",
        met=None if at_most_ms is None else added_ms <= at_most_ms,
        samples=dict([ours, beside]),
    )
