from __future__ import annotations

import pytest

from comfy_errors import InvalidInputError
from comfy_workflows.compare.measures import Measures
from comfy_workflows.compare.tolerance import Tolerance, parse_tolerance

NEAR = Measures(max_difference=1, psnr_db=50, ssim=0.999, changed=0.5)


def test_it_is_read_as_it_is_written() -> None:
    assert parse_tolerance("max=1") == Tolerance(max=1)
    both = parse_tolerance(" psnr=40, ssim=0.99 ")
    assert both == Tolerance(psnr=40, ssim=0.99)
    assert both.in_words() == "psnr=40,ssim=0.99"


_WRONG = """1 max max= max=x max=-1 max=256 max=nan psnr=inf ssim=2 max=1,max=2 loud=1 max=1,"""


@pytest.mark.parametrize("text", ["", *_WRONG.split()])
def test_anything_else_is_a_sentence(text: str) -> None:
    with pytest.raises(InvalidInputError, match="^the tolerance") as raised:
        parse_tolerance(text)
    assert "max=1" in raised.value.remedy


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("max=1", True),
        ("max=0.9", False),
        ("psnr=50", True),
        ("psnr=50.1", False),
        ("ssim=0.999", True),
        ("ssim=0.9999", False),
        ("max=1,psnr=60", False),
    ],
)
def test_every_bound_has_to_hold(text: str, accepted: bool) -> None:
    assert parse_tolerance(text).accepts(NEAR) is accepted


def test_a_bound_of_ssim_alone_accepts_no_sound() -> None:
    sound = Measures(max_difference=1, psnr_db=90, ssim=None, changed=0.5)
    assert not parse_tolerance("ssim=-1").accepts(sound)
    assert parse_tolerance("ssim=-1,psnr=80").accepts(sound)
