"""Errors: where they occurred, several as one, and one read back from output."""

from __future__ import annotations

import pytest

from comfy_errors import (
    ComfyError,
    Faults,
    InvalidInputError,
    MismatchError,
    OperationFailedError,
    UnavailableError,
    error_at_the_end,
    for_each,
    together,
)


def test_an_error_within_a_place_begins_with_it() -> None:
    error = UnavailableError("there is no file", remedy="Check the path.")
    with pytest.raises(UnavailableError, match="^node a: there is no file$") as raised:
        raise error.within("node a")
    assert raised.value.remedy == "Check the path."


def test_a_single_error_stays_as_it_is() -> None:
    error = MismatchError("differs", remedy="Try again.")
    assert together([error]) is error
    assert together([error, MismatchError("differs", remedy="Try again.")]) is error


def test_several_errors_are_listed_with_their_remedies() -> None:
    error = together(
        [
            UnavailableError("no a", remedy="Add a."),
            InvalidInputError("b is wrong", remedy="Correct b."),
            UnavailableError("no c"),
        ]
    )
    assert type(error) is InvalidInputError
    assert error.message == "there are 3 faults:\n  no a. Add a.\n  b is wrong. Correct b.\n  no c."
    assert type(together([UnavailableError("a"), UnavailableError("b")])) is UnavailableError


def test_too_many_errors_are_counted() -> None:
    errors: list[ComfyError] = [UnavailableError(f"no {number}") for number in range(25)]
    assert together(errors).message.endswith("\n  no 19.\n  and 5 more")


def test_an_error_is_found_after_other_output_with_all_its_lines() -> None:
    error = OperationFailedError("two nodes:\n  a\n    → fix it\n  b", remedy="Try again.")
    output = ["error: of somebody else's", "more", *error.in_words().splitlines()]
    assert error_at_the_end(output) == (error.message, error.remedy)
    assert error_at_the_end(["error: short"]) == ("short", "")
    assert error_at_the_end(["no such thing"]) is None


def test_control_characters_are_printed_as_escapes() -> None:
    error = ComfyError("no \x1b[31mnode\x07\n  at all\u202e", remedy="Add \x9b it\ud800.")
    assert error.in_words() == (
        "error: no \\x1b[31mnode\\x07\n  at all\\u202e\n  → Add \\x9b it\\ud800."
    )


def test_the_faults_of_several_steps_are_raised_together() -> None:
    def halve(number: int) -> int:
        if number % 2:
            raise InvalidInputError(f"{number} is odd.", remedy="Use an even one.")
        return number // 2

    assert for_each(halve, (2, 4)) == [1, 2]
    faults = Faults()
    faults.raise_all()
    assert faults.error is None
    assert faults.catch(halve, 1) is None
    assert faults.each(halve, (2, 3)) == [1]
    with pytest.raises(
        InvalidInputError, match=r"2 faults:\n  1 is odd\. Use an even one\.\n  3 is"
    ):
        faults.raise_all()
