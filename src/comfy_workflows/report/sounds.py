"""Sounds as waves: both, and their difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from comfy_workflows.compare.decoded import Track
from comfy_workflows.compare.measures import Floats, portions
from comfy_workflows.report.elements import Element, element

# A peak is the loudest of so many samples; a drawing has at most so many peaks.
_SAMPLES = 256
_PEAKS = 480
_HEIGHT = 48


@dataclass(frozen=True, kw_only=True)
class Waves:
    """The peaks of both sounds and of their difference, from 0 to 1 of the full scale."""

    before: Floats
    after: Floats
    difference: Floats


def waves_of(before: Sequence[Track], after: Sequence[Track]) -> Waves | None:
    """None without two sounds that can be laid over each other.

    Raises UndecodableError and OSError.
    """
    heard = [
        next((track for track in tracks if track.kind == "audio"), None)
        for tracks in (before, after)
    ]
    one, other = heard
    if one is None or other is None or one.facts.channels != other.facts.channels:
        return None
    if one.facts.sample_rate != other.facts.sample_rate:
        return None
    found: list[list[Floats]] = [[], [], []]
    for then, now in zip_longest(portions(one), portions(other)):
        if then is None or now is None or then.shape != now.shape:
            return None
        for peaks, values in zip(found, (then, now, then - now), strict=True):
            peaks.append(_peaks(values))
    if not found[0]:
        return None
    drawn = [_fewer(np.concatenate(peaks)) for peaks in found]
    return Waves(before=drawn[0], after=drawn[1], difference=drawn[2])


def wave_drawing(waves: Waves, titles: tuple[str, str]) -> Element:
    """Three waves, one below the other; a small difference is enlarged."""
    loudest = float(waves.difference.max())
    scale = 1 / loudest if 0 < loudest < 1 else 1.0
    note = f"Difference, ×{scale:,.3g}" if scale > 1 else "Difference"
    made = element("div", {"class": "waves"})
    rows = ((titles[0], waves.before), (titles[1], waves.after), (note, waves.difference * scale))
    for name, (title, peaks) in zip(("before", "after", "difference"), rows, strict=True):
        made.append(
            element(
                "figure",
                {"class": name},
                element("figcaption", None, title),
                _wave(peaks, f"Wave: {title}"),
            )
        )
    return made


def _wave(peaks: Floats, label: str) -> Element:
    half = _HEIGHT / 2
    heights = np.clip(peaks, 0.0, 1.0) * (half - 1)
    upper = [f"{x} {half - height:.1f}" for x, height in enumerate(heights)]
    lower = [f"{x} {half + height:.1f}" for x, height in enumerate(heights)]
    path = element("path", {"d": f"M{'L'.join([*upper, *reversed(lower)])}Z"})
    attributes = {"viewBox": f"0 0 {max(len(peaks) - 1, 1)} {_HEIGHT}", "role": "img"}
    attributes |= {"preserveAspectRatio": "none", "aria-label": label}
    return element("svg", attributes, path)


def _peaks(values: Floats) -> Floats:
    loudness = np.abs(values).max(axis=1)
    peaks: Floats = np.maximum.reduceat(loudness, np.arange(0, len(loudness), _SAMPLES))
    return peaks


def _fewer(peaks: Floats) -> Floats:
    starts = np.unique(np.arange(_PEAKS) * len(peaks) // _PEAKS)
    fewer: Floats = np.maximum.reduceat(peaks, starts)
    return fewer
