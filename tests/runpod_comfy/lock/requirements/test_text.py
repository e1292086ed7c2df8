"""The lines of a requirements file, whatever its bytes are."""

from __future__ import annotations

import codecs

import pytest

from runpod_comfy.lock.requirements.text import decoded, logical_lines


@pytest.mark.parametrize(
    "data",
    [
        b"alpha>=1\nbeta\n",
        b"alpha>=1\r\nbeta\r\n",
        b"alpha>=1\rbeta",
        codecs.BOM_UTF8 + b"alpha>=1\nbeta",
        codecs.BOM_UTF16_LE + "alpha>=1\nbeta\n".encode("utf-16-le"),
        codecs.BOM_UTF16_BE + "alpha>=1\nbeta\n".encode("utf-16-be"),
        codecs.BOM_UTF32_LE + "alpha>=1\nbeta\n".encode("utf-32-le"),
        "alpha>=1  # größer\nbeta".encode(),
        "alpha>=1  # gr\u00f6\u00dfer\nbeta".encode("latin-1"),
        "alpha\u00a0>=1\nbeta\u200b\n".encode(),
        b"alpha\\\n>=1\nbeta",
        b"# a comment that ends so \\\nalpha>=1\n\n   \nbeta # two\n",
    ],
)
def test_the_same_lines_come_out(data: bytes) -> None:
    lines = [line.replace(" ", "") for _, line in logical_lines(decoded(data))]
    assert lines == ["alpha>=1", "beta"]


def test_a_coding_line_counts() -> None:
    data = "# coding: cp1251\nя\n".encode("cp1251")
    assert list(logical_lines(decoded(data))) == [(2, "я")]


def test_an_unknown_coding_is_passed_over() -> None:
    assert list(logical_lines(decoded(b"# coding: klingon\nalpha\n"))) == [(2, "alpha")]


def test_a_line_has_the_number_of_its_first_part() -> None:
    text = "# one\nalpha\\\n>=1,\\\n<2\nbeta\n"
    assert list(logical_lines(text)) == [(2, "alpha>=1,<2"), (5, "beta")]


def test_a_number_sign_in_an_address_is_no_comment() -> None:
    line = "git+https://example.com/a.git#egg=a"
    assert list(logical_lines(f"{line} # why\n")) == [(1, line)]
