"""Timings: their words, and what is called flat."""

from __future__ import annotations

import pytest

from benchmarks.samples import Samples, growth_ratio


def test_the_text_gives_median_least_and_most() -> None:
    assert Samples([3.0, 1.0, 2.0]).text == "2.00 s (1.00–3.00, 3 runs)"
    assert Samples([0.25]).text == "0.250 s (1 run)"


def test_two_steps_are_added_run_by_run() -> None:
    assert list(Samples([1, 2]).plus(Samples([10, 20])).seconds) == [11, 22]


def test_items_that_cost_the_same_are_flat_whatever_the_start_costs() -> None:
    assert growth_ratio((1, 50, 100), (5.0, 5.0 + 49, 5.0 + 99)) == pytest.approx(1.0)


def test_items_that_are_compared_with_each_other_are_not_flat() -> None:
    assert growth_ratio((0, 50, 100), (0.0, 50.0**2, 100.0**2)) == pytest.approx(3.0)


def test_noise_is_no_growth() -> None:
    assert growth_ratio((0, 500, 1000), (1.2, 1.1, 1.19)) == pytest.approx(1.0)


def test_short_times_are_in_milliseconds() -> None:
    assert Samples([0.0314, 0.0299, 0.0402]).text == "31.4 ms (29.9–40.2, 3 runs)"
