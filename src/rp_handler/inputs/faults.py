"""What can be wrong with what a job has fetched: one error for all, which names each field."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TypeVar

from comfy_errors import ComfyError, InvalidInputError, OperationFailedError, UnavailableError
from comfy_files.parallel import in_parallel
from comfy_http.errors import TransientError
from rp_handler.errors import InputFetchError

_T = TypeVar("_T")
_R = TypeVar("_R")

_NAMED = 10
_SHOWN_CHARACTERS = 2000


def for_all(
    work: Callable[[_T], _R],
    items: Sequence[_T],
    *,
    field_of: Callable[[_T], str],
    kind: str,
    threads: int = 1,
) -> list[_R]:
    """The results of `work` for each item; `field_of` names an item's field in the job's input.

    Raises one InvalidInputError or InputFetchError for all items that fail, which calls them `kind`
    ("input files"), and an OperationFailedError as soon as it happens.
    """
    faults: dict[int, ComfyError] = {}
    results: dict[int, _R] = {}

    def attempt(number: int) -> None:
        try:
            results[number] = work(items[number])
        except OperationFailedError:
            raise
        except ComfyError as error:
            faults[number] = error

    if threads == 1:
        for number in range(len(items)):
            attempt(number)
    else:
        in_parallel(attempt, range(len(items)), threads=threads)
    if faults:
        failed = [(field_of(items[number]), faults[number]) for number in sorted(faults)]
        raise _together(failed, kind)
    return [results[number] for number in range(len(items))]


def require_sha256(found: str | None, stated: str | None) -> None:
    """Raises UnavailableError if both are known and differ."""
    if None not in (found, stated) and found != stated:
        raise UnavailableError(
            f"the file has the sha256 {found}, not {stated}",
            remedy="Correct the sha256, or put the right file there.",
        )


def _together(faults: Sequence[tuple[str, ComfyError]], kind: str) -> ComfyError:
    """One error, in one sentence, which names each field."""
    sentences = [f"{field}: {_in_one_line(error.message)}" for field, error in faults]
    ends = accumulate(map(len, sentences))
    shown = [each for each, end in zip(sentences, ends, strict=True) if end <= _SHOWN_CHARACTERS]
    shown = shown[:_NAMED] or sentences[:1]
    more = len(sentences) - len(shown)
    reasons = "; ".join([*shown, *([f"and {more} more"] if more else [])])
    remedies = dict.fromkeys(error.remedy for _, error in faults if error.remedy)
    remedy = " ".join(list(remedies)[:_NAMED])
    if any(isinstance(error, InvalidInputError) for _, error in faults):
        return InvalidInputError(f"The job's input cannot be used: {reasons}.", remedy=remedy)
    return InputFetchError(
        f"The job's {kind} could not be fetched: {reasons}.",
        remedy=remedy,
        details={"inputs": [field for field, _ in faults]},
        retryable=all(isinstance(error, TransientError) for _, error in faults),
    )


def _in_one_line(message: str) -> str:
    """Without control characters and the like, which an address may have."""
    text = "".join(it if it.isprintable() else " " for it in message.rstrip("."))
    return text[:_SHOWN_CHARACTERS]
