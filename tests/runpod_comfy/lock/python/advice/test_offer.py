"""Bounds are put together as versions, and none that counts is lost."""

from __future__ import annotations

import pytest
from packaging.specifiers import SpecifierSet

from runpod_comfy.lock.python.advice.offer import merged


@pytest.mark.parametrize(
    ("bounds", "one"),
    [
        ([">=4.9", ">=4.10", ">4.1"], ">=4.10"),
        (["<2", "<1.27,>=1.9", ">=1.25.0"], "<1.27,>=1.25.0"),
        ([">=1", ">1"], ">1"),
        (["<=2", "<2"], "<2"),
        ([">=4.39.0,!=4.50.*", ">=4.30"], "!=4.50.*,>=4.39.0"),
        ([">=1", "==1.5", "<2"], "==1.5"),
        (["==1.*", ">=1.2"], "==1.*,>=1.2"),
        ([], ""),
    ],
)
def test_bounds_that_others_include_are_left_out(bounds: list[str], one: str) -> None:
    assert merged(map(SpecifierSet, bounds)) == SpecifierSet(one)
