from __future__ import annotations

from rp_handler.sendable import sendable


def test_halves_of_characters_are_replaced_wherever_they_are() -> None:
    document = {"\ud800": ["a\udfff", ("\U0001f600", 1)], "é": {"b": None}}
    assert sendable(document) == {"?": ["a?", ["\U0001f600", 1]], "é": {"b": None}}


def test_a_picture_is_not_copied() -> None:
    picture = "QUJD" * 1000
    assert sendable({"data": picture})["data"] is picture
