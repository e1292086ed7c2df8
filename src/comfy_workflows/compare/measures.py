"""How far two decoded files are apart: the largest difference, PSNR, SSIM.

Everything is computed frame by frame, and in strips of rows, so that memory stays bounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import numpy.typing as npt

from comfy_workflows.compare.decoded import Facts, Part, Pixels, Track, full_scale

_STRIP_ROWS = 256
_WINDOW = 7
_SAMPLES_AT_ONCE = 1 << 16
# The constants of SSIM for values between 0 and 1 (Wang and others, 2004).
_C1, _C2 = 0.01**2, 0.03**2
_LUMA = np.array([0.299, 0.587, 0.114])
_DEEPEST_STEPS = 255

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Measures:
    """The distance of two files: of the frame, or the portion of sound, that is farthest apart.

    `max_difference` is the largest difference of one channel, or sample, in steps of 1/255 of the
    full scale. `psnr_db` is the peak signal-to-noise ratio in decibels, None where nothing differs.
    `ssim` is the structural similarity of the luma, 1.0 where nothing differs; None for sound.
    `changed` is the part of all pixels, or samples, that differ.
    """

    max_difference: float
    psnr_db: float | None
    ssim: float | None
    changed: float

    @property
    def is_zero(self) -> bool:
        return self.max_difference == 0 and self.changed == 0

    def in_words(self) -> str:
        """`max 3 of 255, PSNR 48.1 dB, SSIM 0.99912, 0.4% of the pixels`."""
        what = "samples" if self.ssim is None else "pixels"
        parts = [f"max {_rounded(self.max_difference)} of 255"]
        if self.psnr_db is not None:
            parts.append(f"PSNR {self.psnr_db:.1f} dB")
        if self.ssim is not None:
            parts.append(f"SSIM {math.floor(self.ssim * 1e5) / 1e5:.5f}")
        return ", ".join([*parts, f"{_percent(self.changed)} of the {what} differ"])


class IncomparableError(Exception):
    """Two files whose difference cannot be measured; the message is a sentence's end."""


@dataclass
class _Sums:
    """What accumulates over the parts of one track."""

    largest: float = 0.0
    squares: float = 0.0
    worst_mse: float = 0.0
    worst_ssim: float = 1.0
    changed: int = 0
    total: int = 0


def measure(before: list[Track], after: list[Track]) -> Measures:
    """The distance between the tracks of two files, by the worst of them.

    Raises IncomparableError if they differ in something else than values, and UndecodableError.
    """
    kinds = [[track.kind for track in tracks] for tracks in (before, after)]
    if kinds[0] != kinds[1]:
        now, then = (" and ".join(each) for each in reversed(kinds))
        raise IncomparableError(f"it has {now}, and had {then}")
    found = [
        _measure_sound(*pair) if pair[0].kind == "audio" else _measure_frames(*pair)
        for pair in zip(before, after, strict=True)
    ]
    return Measures(
        max_difference=max(each.max_difference for each in found),
        psnr_db=min((each.psnr_db for each in found if each.psnr_db is not None), default=None),
        ssim=min((each.ssim for each in found if each.ssim is not None), default=None),
        changed=max(each.changed for each in found),
    )


def hash_distance(before: str, after: str) -> int:
    """In how many of 64 bits two difference hashes differ."""
    return (int(before, 16) ^ int(after, 16)).bit_count()


def size_in_words(facts: Facts) -> str:
    """`768×1024 RGB`, as far as it is known."""
    size = f"{facts.width}×{facts.height} " if facts.width is not None else ""
    return f"{size}{facts.mode or ''}".strip()


def _measure_frames(before: Track, after: Track) -> Measures:
    sums = _Sums()
    for number, (one, other) in enumerate(zip_longest(before.visible(), after.visible()), 1):
        if one is None or other is None:
            amount = "more" if one is None else "fewer"
            raise IncomparableError(f"it has {amount} frames than before; both have {number - 1}")
        _require_alike(one, other, number)
        _add_frame(sums, one.array, other.array)
    return _measures(sums, ssim=sums.worst_ssim)


def _require_alike(one: Part, other: Part, number: int) -> None:
    if one.array.shape[:2] != other.array.shape[:2]:
        sizes = [f"{part.array.shape[1]}×{part.array.shape[0]}" for part in (one, other)]
        raise IncomparableError(f"it is {sizes[1]}, and was {sizes[0]}")
    if one.array.shape != other.array.shape or one.array.dtype != other.array.dtype:
        kinds = [f"{part.array.shape[2]} × {part.array.dtype.name}" for part in (one, other)]
        raise IncomparableError(f"its channels are {kinds[1]}, and were {kinds[0]}")
    if one.timing_ms != other.timing_ms:
        times = f"{other.timing_ms} ms, and was {one.timing_ms} ms"
        raise IncomparableError(f"the time of frame {number} is {times}")


def _add_frame(sums: _Sums, before: Pixels, after: Pixels) -> None:
    squares = 0.0
    for one, other in _strips(before, after, overlap=0):
        if np.array_equal(one, other):
            continue
        difference = np.abs(finite(one) - finite(other))
        sums.largest = max(sums.largest, float(difference.max(initial=0)))
        squares += float(np.vdot(difference, difference))
        sums.changed += int(np.count_nonzero(difference.max(axis=-1, initial=0)))
    sums.total += before.shape[0] * before.shape[1]
    sums.worst_mse = max(sums.worst_mse, squares / max(before.size, 1))
    if squares:
        sums.worst_ssim = min(sums.worst_ssim, _ssim(before, after))


def _measure_sound(before: Track, after: Track) -> Measures:
    shapes = [(track.facts.sample_rate, track.facts.channels) for track in (before, after)]
    if shapes[0] != shapes[1]:
        words = [f"{rate} Hz with {channels} channels" for rate, channels in shapes]
        raise IncomparableError(f"its sound has {words[1]}, and had {words[0]}")
    sums = _Sums()
    for one, other in zip_longest(portions(before), portions(after)):
        if one is None or other is None or len(one) != len(other):
            raise IncomparableError("its sound is longer or shorter than before")
        difference = np.abs(one - other)
        sums.largest = max(sums.largest, float(difference.max(initial=0)))
        sums.squares += float(np.vdot(difference, difference))
        sums.changed += int(np.count_nonzero(difference.max(axis=-1, initial=0)))
        sums.total += len(one)
    channels = before.facts.channels or 1
    sums.worst_mse = sums.squares / max(sums.total * channels, 1)
    return _measures(sums, ssim=None)


def _measures(sums: _Sums, *, ssim: float | None) -> Measures:
    return Measures(
        max_difference=round(sums.largest * _DEEPEST_STEPS, 6),
        psnr_db=-10 * math.log10(sums.worst_mse) if sums.worst_mse > 0 else None,
        ssim=ssim,
        changed=sums.changed / max(sums.total, 1),
    )


def portions(track: Track) -> Iterator[Floats]:
    """The samples of a track as parts of the full scale, in portions of a fixed length."""
    kept: list[Floats] = []
    count = 0
    for part in track.visible():
        kept.append(finite(part.array))
        count += len(part.array)
        while count >= _SAMPLES_AT_ONCE:
            joined = np.concatenate(kept)
            yield joined[:_SAMPLES_AT_ONCE]
            kept, count = [joined[_SAMPLES_AT_ONCE:]], count - _SAMPLES_AT_ONCE
    if count:
        yield np.concatenate(kept)


def _strips(before: Pixels, after: Pixels, *, overlap: int) -> Iterator[tuple[Pixels, Pixels]]:
    """Both frames in strips of rows; each strip also has the next `overlap` rows."""
    for row in range(0, max(before.shape[0] - overlap, 1), _STRIP_ROWS):
        end = row + _STRIP_ROWS + overlap
        yield before[row:end], after[row:end]


def _ssim(before: Pixels, after: Pixels) -> float:
    """The mean structural similarity of the luma, over windows of 7 × 7 pixels."""
    rows, columns = (min(_WINDOW, side) for side in before.shape[:2])
    total, count = 0.0, 0
    for strip in _strips(before, after, overlap=rows - 1):
        if np.array_equal(*strip):
            windows = (len(strip[0]) - rows + 1) * (before.shape[1] - columns + 1)
            total, count = total + windows, count + windows
            continue
        x, y = (_luma(each) for each in strip)
        mean_x, mean_y = (_window_means(each, rows, columns) for each in (x, y))
        # The variances of samples, not of a population.
        norm = rows * columns / max(rows * columns - 1, 1)
        var_x = norm * (_window_means(x * x, rows, columns) - mean_x**2)
        var_y = norm * (_window_means(y * y, rows, columns) - mean_y**2)
        cov = norm * (_window_means(x * y, rows, columns) - mean_x * mean_y)
        similar = ((2 * mean_x * mean_y + _C1) * (2 * cov + _C2)) / (
            (mean_x**2 + mean_y**2 + _C1) * (var_x + var_y + _C2)
        )
        total += float(similar.sum())
        count += similar.size
    return total / max(count, 1)


def _luma(pixels: Pixels) -> Floats:
    values = finite(pixels)
    if values.shape[-1] >= 3:
        luma: Floats = values[..., :3] @ _LUMA
        return luma
    first: Floats = values[..., 0]
    return first


def _window_means(values: Floats, rows: int, columns: int) -> Floats:
    """The mean of each window of that many rows and columns that lies within `values`."""
    sums = np.pad(values, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    windows = (
        sums[rows:, columns:]
        - sums[:-rows, columns:]
        - sums[rows:, :-columns]
        + sums[:-rows, :-columns]
    )
    means: Floats = windows / (rows * columns)
    return means


def finite(values: Pixels) -> Floats:
    """The values as parts of the full scale, without NaN and infinity."""
    scaled = full_scale(values)
    if np.issubdtype(values.dtype, np.floating):
        scaled = np.nan_to_num(scaled, nan=0.0, posinf=1e6, neginf=-1e6)
    return scaled


def _rounded(steps: float) -> str:
    return f"{steps:.0f}" if abs(steps - round(steps)) < 1e-3 else f"{steps:.3g}"


def _percent(part: float) -> str:
    return "less than 0.01%" if 0 < part < 1e-4 else f"{part:.2%}"
