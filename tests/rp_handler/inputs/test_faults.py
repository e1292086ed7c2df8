from __future__ import annotations

from typing import NoReturn

import pytest

from comfy_errors import ComfyError, InvalidInputError, OperationFailedError, UnavailableError
from comfy_http.errors import TransientError
from rp_handler.errors import InputFetchError
from rp_handler.inputs.faults import for_all


def fail(error: ComfyError | str) -> str:
    if isinstance(error, str):
        return error
    raise error


def outcome(*items: ComfyError | str, threads: int = 1) -> list[str]:
    things = list(enumerate(items))
    return for_all(
        lambda thing: fail(thing[1]),
        things,
        field_of=lambda thing: f"things[{thing[0]}]",
        kind="things",
        threads=threads,
    )


@pytest.mark.parametrize("threads", [1, 4])
def test_results_are_in_order_and_faults_name_their_fields(threads: int) -> None:
    assert outcome("a", "b", threads=threads) == ["a", "b"]
    gone = UnavailableError("is gone.", remedy="Look.")
    passing = TransientError("is silent", remedy="Wait.")
    with pytest.raises(InputFetchError) as caught:
        outcome("a", gone, passing, threads=threads)
    assert caught.value.message == (
        "The job's things could not be fetched: things[1]: is gone; things[2]: is silent."
    )
    assert caught.value.remedy == "Look. Wait."
    assert caught.value.details == {"inputs": ["things[1]", "things[2]"]}
    assert not caught.value.retryable


def test_only_what_passes_can_be_tried_again() -> None:
    with pytest.raises(InputFetchError) as caught:
        outcome(TransientError("a", remedy=""), TransientError("b", remedy=""))
    assert caught.value.retryable


def test_a_wrong_input_counts_more_than_one_out_of_reach() -> None:
    with pytest.raises(InvalidInputError, match=r"things\[0\]: a; things\[1\]: b"):
        outcome(UnavailableError("a"), InvalidInputError("b"))


def test_a_full_disk_ends_it_at_once() -> None:
    def work(_thing: object) -> NoReturn:
        raise OperationFailedError("disk full")

    with pytest.raises(OperationFailedError, match="disk full"):
        for_all(work, [1, 2], field_of=str, kind="things")
