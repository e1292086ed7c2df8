"""The times of nodes, as far as they are known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comfy_workflows.report.elements import Element
from comfy_workflows.report.parts import Report
from comfy_workflows.report.times import duration_in_words, node_times, times_section
from tests.comfy_workflows.compare.runs import result
from tests.comfy_workflows.report.two_runs import small_report


def _report(before: object, after: object) -> Report:
    return small_report(result(timings=before), result(timings=after))


def _rows(section: Element) -> list[list[str]]:
    rows = [row for body in section.iter("tbody") for row in body]
    return [["".join(cell.itertext()) for cell in row][:4] for row in rows]


def _widths(section: Element) -> list[str]:
    return [each.get("style", "") for each in section.iter("i")]


def test_the_slowest_node_comes_first_with_bars_on_one_scale() -> None:
    section = times_section(
        _report(
            {"run_ms": 3000, "nodes": {"1": 500, "2": 2000}},
            {"run_ms": 2500, "nodes": {"1": 1000, "2": 1000}},
        )
    )
    assert _rows(section) == [
        [
            "KSampler2",
            "2.0 s",
            "1.0 s",
            "–50%",
        ],
        ["CLIPTextEncode1", "500 ms", "1.0 s", "+100%"],
    ]
    assert _widths(section) == ["width:100.00%", "width:50.00%", "width:25.00%", "width:50.00%"]
    (foot,) = section.iter("tfoot")
    assert "".join(foot.itertext()) == "The whole run3.0 s2.5 s–17%"


def test_a_node_that_ran_on_one_side_only_has_one_bar() -> None:
    section = times_section(_report({"nodes": {"1": 500}}, {"nodes": {"2": 250}}))
    assert _rows(section) == [
        ["CLIPTextEncode1", "500 ms", "–", "–"],
        ["KSampler2", "–", "250 ms", "–"],
    ]
    assert _widths(section) == ["width:100.00%", "width:50.00%"]


def test_many_nodes_are_folded() -> None:
    section = times_section(_report({"nodes": {str(each): each for each in range(1, 41)}}, None))
    (rest,) = section.iter("details")
    assert rest.findtext("summary") == "28 faster nodes"
    assert len(_rows(section)) == 40


def test_a_baseline_has_no_times() -> None:
    report = _report(None, {"run_ms": 5, "nodes": {"1": 5}})
    report = replace(report, before=replace(report.before, title="the baseline x", result=None))
    said = "".join(times_section(report).itertext())
    assert "The baseline x has no times: they are not recorded." in said


def test_without_times_there_is_a_sentence() -> None:
    assert "Neither run was timed." in "".join(times_section(_report(None, None)).itertext())


@pytest.mark.parametrize("timings", [None, 5, "x", [], {"nodes": []}, {"run_ms": True}])
def test_what_is_no_list_of_times_is_left_out(timings: object) -> None:
    report = _report(timings, {"nodes": {"2": 0}})
    assert [each.node for each in node_times(report)] == ["2"]
    times_section(report)


@pytest.mark.parametrize("value", [None, True, "5", -1, float("nan"), float("inf"), 10**400, {}])
def test_what_is_no_time_is_left_out(value: object) -> None:
    report = _report({"run_ms": value, "nodes": {"1": value}}, {"nodes": {"2": 0}})
    assert [each.node for each in node_times(report)] == ["2"]
    times_section(report)


@pytest.mark.parametrize(
    ("duration_ms", "words"),
    [(None, "–"), (0, "0 ms"), (812.4, "812 ms"), (12_340, "12.3 s"), (245_000, "4 min 5 s")],
)
def test_durations_have_a_fitting_unit(duration_ms: float | None, words: str) -> None:
    assert duration_in_words(duration_ms) == words
