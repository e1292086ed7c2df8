"""Rows and the documents that they end in."""

from __future__ import annotations

import json

from benchmarks.document import as_json, as_markdown
from benchmarks.rows import added_at_most, faster, ratio_at_most, seconds_at_most
from benchmarks.samples import Samples

_OURS = ("ours", Samples([2.0]))
_THEIRS = ("theirs", Samples([6.0]))


def test_a_row_is_met_by_the_ratio_of_the_medians() -> None:
    assert faster(1, "install", ours=_OURS, theirs=_THEIRS, at_least=3).met is True
    assert faster(1, "install", ours=_OURS, theirs=_THEIRS, at_least=3.1).met is False
    assert faster(1, "install", ours=_OURS, theirs=_THEIRS).met is None
    assert ratio_at_most(4, "start", ours=_OURS, beside=_THEIRS, at_most=0.3).met is False
    assert seconds_at_most(2, "nothing", ours=_OURS, at_most=2.0).met is True


def test_what_ours_adds_is_in_milliseconds() -> None:
    beside = ("straight", Samples([1.9975]))
    row = added_at_most(9, "a job", ours=_OURS, beside=beside, at_most_ms=3)
    assert (row.measured, row.wanted, row.met) == ("+2.5 ms", "≤ +3 ms", True)
    assert added_at_most(9, "a job", ours=_OURS, beside=beside, at_most_ms=2).met is False
    assert added_at_most(9, "a job", ours=_OURS, beside=beside).met is None


def test_a_missed_target_is_named_above_the_table_and_marked_in_it() -> None:
    rows = [
        faster(1, "install", ours=_OURS, theirs=_THEIRS, at_least=7),
        seconds_at_most(2, "nothing to do", ours=_OURS, at_most=3),
    ]
    text = as_markdown(rows, {"machine": "2 cores"}, ["Measured in turn."])
    assert "- machine: 2 cores" in text
    assert "Missed: 1.\n" in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in table}) == 1
    assert "| 3.00×    | ≥ 7×   | **missed** | ours 2.00 s (1 run); theirs" in table[2]
    assert text.endswith("- Measured in turn.")


def test_json_has_every_single_timing() -> None:
    row = seconds_at_most(2, "nothing to do", ours=("ours", Samples([1.5, 2.5])), at_most=3)
    (told,) = json.loads(as_json([row], {}, []))["rows"]
    assert told["seconds"] == {"ours": [1.5, 2.5]}
    assert told["met"] is True
