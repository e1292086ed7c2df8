"""Sounds as waves: what is loud is high, and what differs is seen."""

from __future__ import annotations

import io

import numpy as np
import pytest

from comfy_workflows.compare.content import tracks_of
from comfy_workflows.compare.decoded import Track
from comfy_workflows.report.sounds import wave_drawing, waves_of
from tests.media_files import Array, noise, sound_file, tone, video

TITLES = ("demo", "demo-next")


def _tracks(samples: Array) -> list[Track]:
    content = sound_file(samples)
    return tracks_of(lambda: io.BytesIO(content), "media")


def test_the_place_of_a_difference_is_where_the_wave_is_high() -> None:
    changed = tone(80_000)
    changed[40_000:40_100] //= 2
    waves = waves_of(_tracks(tone(80_000)), _tracks(changed))
    assert waves is not None
    assert waves.before.max() == pytest.approx(20_000 / 2**15, abs=0.01)
    high = np.flatnonzero(waves.difference) / len(waves.difference)
    assert len(high) > 0
    assert ((high > 0.48) & (high < 0.52)).all()


def test_a_small_difference_is_enlarged_and_says_so() -> None:
    changed = tone()
    changed[100] += 64
    waves = waves_of(_tracks(tone()), _tracks(changed))
    assert waves is not None
    drawn = wave_drawing(waves, TITLES)
    assert [each.text for each in drawn.iter("figcaption")] == [*TITLES, "Difference, ×512"]
    paths = [each.get("d", "") for each in drawn.iter("path")]
    # The height is 48; a peak that fills it is one pixel below the top.
    assert " 1.0" in paths[2]
    assert " 1.0" not in paths[0]


def test_a_sound_of_a_few_samples_is_drawn() -> None:
    waves = waves_of(_tracks(tone(3)), _tracks(tone(3)))
    assert waves is not None
    assert waves.difference.max() == 0
    assert len(list(wave_drawing(waves, TITLES).iter("svg"))) == 3


def test_there_are_no_waves_of_what_cannot_be_laid_over_each_other() -> None:
    assert waves_of(_tracks(tone(100)), _tracks(tone(200))) is None
    content = video([noise()] * 2)
    silent = tracks_of(lambda: io.BytesIO(content), "media")
    assert waves_of(silent, silent) is None
