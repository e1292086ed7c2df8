"""Where two pictures differ, to be seen at a glance."""

from __future__ import annotations

import io

import numpy as np
import pytest

from comfy_workflows.compare.content import tracks_of
from comfy_workflows.compare.decoded import Track
from comfy_workflows.report.difference import COLOURS, Stills, farthest_apart, map_of, picture_of
from tests.comfy_workflows.report.two_runs import frames, landscape, with_a_patch, with_one_pixel
from tests.media_files import (
    Array,
    animation,
    deep_png,
    noise,
    picture,
    sound_file,
    tone,
    with_one_step,
)


def _tracks(content: bytes) -> list[Track]:
    return tracks_of(lambda: io.BytesIO(content), "pixels")


def _stills(before: Array, after: Array) -> Stills:
    found = farthest_apart(_tracks(picture(before)), _tracks(picture(after)))
    assert found is not None
    return found


def _colours_in(stills: Stills) -> set[str]:
    drawn, _ = map_of(stills)
    pixels = np.asarray(drawn.convert("RGB")).reshape(-1, 3)
    return {f"#{r:02x}{g:02x}{b:02x}" for r, g, b in np.unique(pixels, axis=0)} & set(COLOURS)


@pytest.mark.parametrize(
    ("amount", "colour"), [(1, 0), (2, 1), (3, 1), (4, 2), (8, 3), (100, 6), (128, 7), (255, 7)]
)
def test_a_difference_has_the_colour_of_its_size(amount: int, colour: int) -> None:
    dark = np.zeros((40, 40, 3), np.uint8)
    changed = dark.copy()
    changed[5, 7, 2] = amount
    stills = _stills(dark, changed)
    assert stills.steps[5, 7] == amount
    assert _colours_in(stills) == {COLOURS[colour]}


def test_one_pixel_of_many_is_a_dot_that_can_be_seen() -> None:
    large = landscape(1200, 1600)
    drawn, has_dots = map_of(_stills(large, with_one_pixel(large)))
    assert max(drawn.size) <= 1024
    assert has_dots
    assert np.count_nonzero(np.asarray(drawn) >= 32) > 100


def test_many_pixels_are_no_dots() -> None:
    _, has_dots = map_of(_stills(landscape(), with_a_patch(landscape())))
    assert not has_dots


def test_what_is_equal_stays_grey() -> None:
    drawn, _ = map_of(_stills(landscape(), with_a_patch(landscape())))
    grey = np.asarray(drawn)[0, 0]
    assert grey < 32


def test_the_place_of_the_difference_is_named() -> None:
    assert _stills(landscape(), with_one_pixel(landscape())).place() == (
        "1 of 196,608 pixels differs, at (200, 100)"
    )
    patched = _stills(landscape(), with_a_patch(landscape())).place()
    assert patched.endswith(" of 196,608 pixels differ, between (195, 42) and (419, 265)")


def test_differences_below_a_step_of_255_count() -> None:
    deep = noise(deep=True)
    changed = deep.copy()
    changed[2, 3, 1] ^= 1
    found = farthest_apart(_tracks(deep_png(deep)), _tracks(deep_png(changed)))
    assert found is not None
    assert found.steps[2, 3] == pytest.approx(1 / 257)
    assert _colours_in(found) == {COLOURS[0]}
    assert picture_of(found.after).mode == "RGBA"


def test_the_frame_that_differs_most_is_found() -> None:
    before, after = frames(6), frames(6, patched=4)
    before[1], before[5] = with_one_step(before[1]), with_one_step(before[5])
    found = farthest_apart(
        *(_tracks(animation(each, "WEBP", lossless=True)) for each in (before, after))
    )
    assert found is not None
    assert (found.number, found.count) == (5, 6)


def test_there_are_no_stills_of_what_cannot_be_laid_over_each_other() -> None:
    small, large = _tracks(picture(noise(8, 8))), _tracks(picture(noise(9, 9)))
    assert farthest_apart(small, large) is None
    assert farthest_apart(small, small) is None
    sound = tracks_of(lambda: io.BytesIO(sound_file(tone())), "media")
    assert farthest_apart(sound, sound) is None
