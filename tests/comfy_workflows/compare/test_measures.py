from __future__ import annotations

import io
import math
import warnings
from typing import Any

import numpy as np
import pytest

from comfy_workflows.compare.content import Rule, tracks_of
from comfy_workflows.compare.measures import (
    IncomparableError,
    Measures,
    hash_distance,
    measure,
)
from tests.media_files import (
    animation,
    deep_png,
    noise,
    picture,
    sound_file,
    tone,
    video,
    with_one_step,
)


def measured(before: bytes, after: bytes, rule: Rule = "pixels") -> Measures:
    one, other = (
        tracks_of(lambda content=content: io.BytesIO(content), rule)  # type: ignore[misc]
        for content in (before, after)
    )
    return measure(one, other)


def test_equal_pixels_have_no_distance() -> None:
    found = measured(picture(noise()), picture(noise(), compress_level=0))
    assert found == Measures(max_difference=0, psnr_db=None, ssim=1.0, changed=0)
    assert found.is_zero


def test_one_step_of_one_channel() -> None:
    found = measured(picture(noise()), picture(with_one_step(noise())))
    assert found.max_difference == 1
    # The mean of RGBA: the alpha channel counts.
    assert found.psnr_db == pytest.approx(10 * math.log10(255**2 * 24 * 32 * 4))
    assert found.changed == pytest.approx(1 / (24 * 32))
    assert (
        found.in_words() == "max 1 of 255, PSNR 83.0 dB, SSIM 0.99999, 0.13% of the pixels differ"
    )


def test_a_step_of_16_bits_is_a_small_part_of_one_of_8() -> None:
    deep = noise(deep=True)
    found = measured(deep_png(deep), deep_png(with_one_step(deep)))
    assert found.max_difference == pytest.approx(1 / 257, abs=1e-5)


def test_ssim_is_that_of_a_plain_computation() -> None:
    before, after = (picture(noise(300, 20, seed=seed)) for seed in (1, 2))
    luma = [noise(300, 20, seed=seed) / 255 @ [0.299, 0.587, 0.114] for seed in (1, 2)]
    views: Any = [np.lib.stride_tricks.sliding_window_view(each, (7, 7)) for each in luma]
    x, y = (each.reshape(*each.shape[:2], 49) for each in views)
    mean_x, mean_y = x.mean(-1), y.mean(-1)
    cov = ((x - mean_x[..., None]) * (y - mean_y[..., None])).sum(-1) / 48
    wanted = (2 * mean_x * mean_y + 1e-4) * (2 * cov + 9e-4)
    wanted /= (mean_x**2 + mean_y**2 + 1e-4) * (x.var(-1, ddof=1) + y.var(-1, ddof=1) + 9e-4)
    assert measured(before, after).ssim == pytest.approx(wanted.mean(), abs=1e-9)


def test_a_picture_smaller_than_the_window_has_an_ssim_too() -> None:
    found = measured(picture(noise(4, 5)), picture(noise(4, 5, seed=1)))
    assert found.ssim is not None
    assert found.ssim < 0.9


def test_what_the_process_warns_about_stays_as_it_was() -> None:
    before = list(warnings.filters)
    measured(picture(noise()), picture(noise(seed=1)))
    assert warnings.filters == before


def test_the_worst_frame_counts() -> None:
    frames = [noise(seed=seed) for seed in range(3)]
    good = measured(
        animation(frames, "PNG"), animation([with_one_step(frames[0]), *frames[1:]], "PNG")
    )
    bad = measured(animation(frames, "PNG"), animation([*frames[:2], noise(seed=7)], "PNG"))
    assert good.max_difference == 1
    assert bad.psnr_db is not None
    assert good.psnr_db is not None
    assert bad.psnr_db < 20 < good.psnr_db


def test_videos_are_measured_by_their_colours_and_sound() -> None:
    frames = [noise(seed=seed) for seed in range(2)]
    louder = tone()
    louder[5, 0] += 300
    before = video(frames, "matroska", sound=tone())
    found = measured(before, video(frames, "matroska", sound=louder), "media")
    assert found.max_difference == pytest.approx(300 / 32768 * 255, rel=1e-3)
    assert found.ssim == 1.0
    other = measured(before, video([frames[0], frames[0]], "matroska", sound=tone()), "media")
    assert other.max_difference > 100


def test_sounds_have_no_ssim() -> None:
    quiet = tone(200_000)
    louder = quiet.copy()
    louder[150_000, 1] += 1
    found = measured(sound_file(quiet), sound_file(louder, "flac", "flac"), "media")
    assert found.ssim is None
    assert found.max_difference == pytest.approx(255 / 32768, rel=1e-3)
    assert "of the samples differ" in found.in_words()


@pytest.mark.parametrize(
    ("before", "after", "rule", "said"),
    [
        (picture(noise()), picture(noise(12)), "pixels", "it is 32×12, and was 32×24"),
        (picture(noise()), deep_png(noise(deep=True)), "pixels", "4 × uint16, and were 4 × uint8"),
        (
            animation([noise(), noise(seed=1)], "PNG"),
            animation([noise(), noise(seed=1), noise(seed=2)], "PNG"),
            "pixels",
            "it has more frames than before",
        ),
        (
            animation([noise(), noise(seed=1)], "PNG"),
            animation([noise(), noise(seed=1)], "PNG", shown_ms=40),
            "pixels",
            "the time of frame 1 is 40 ms, and was 100 ms",
        ),
        (video([noise()]), sound_file(tone()), "media", "it has audio, and had video"),
        (sound_file(tone()), sound_file(tone(500)), "media", "longer or shorter"),
    ],
)
def test_what_cannot_be_measured_is_said(
    before: bytes, after: bytes, rule: Rule, said: str
) -> None:
    with pytest.raises(IncomparableError, match=said):
        measured(before, after, rule)


def test_the_distance_of_hashes_is_the_number_of_bits() -> None:
    assert hash_distance("00000000000000ff", "0000000000000000") == 8
