"""Two texts, line by line."""

from __future__ import annotations

from comfy_workflows.report.lines import line_differences


def _lines(before: str, after: str) -> list[str]:
    return ["".join(each.itertext()) for each in line_differences(before, after)]


def test_removed_lines_come_before_added_ones() -> None:
    assert _lines("a\nb\nc", "a\nx\ny\nc") == [" a", "-b", "+x", "+y", " c"]


def test_the_changed_part_of_a_line_is_marked() -> None:
    block = line_differences("a red boat", "a blue boat")
    assert [mark.text for mark in block.iter("mark")] == ["red", "blue"]


def test_a_repeated_letter_is_marked_once() -> None:
    block = line_differences("aa", "aaa")
    assert [mark.text for mark in block.iter("mark")] == ["a"]
    assert _lines("aa", "aaa") == ["-aa", "+aaa"]


def test_long_runs_of_equal_lines_are_counted() -> None:
    equal = [f"line {number}" for number in range(20)]
    lines = _lines("\n".join(["old", *equal]), "\n".join(["new", *equal]))
    assert lines == ["-old", "+new", " line 0", " line 1", " line 2", "17 equal lines"]


def test_only_what_ends_lines_differs() -> None:
    assert _lines("a\n", "a") == ["No difference in the lines shown here."]


def test_long_texts_are_cut() -> None:
    many = "\n".join(map(str, range(5000)))
    assert _lines(f"{many}\nold", f"{many}\nnew") == ["No difference in the lines shown here."]
    added = _lines(many, "\n".join(["new"] * 5001))
    assert [line for line in added if "more" in line] == [
        "-… 3000 more lines",
        "+… 3001 more lines",
    ]
    wide = _lines("a" * 5000, "b" * 5000)
    assert [len(line) for line in wide] == [2002, 2002]
