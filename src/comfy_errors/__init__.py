"""The base class of every error that a user may see, on the build side and on the run side.

Libraries raise these with data and a message; only a command line prints them and exits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, ParamSpec, Self, TypeVar

from comfy_errors.names import in_lines, printable

_BEGINNING, _NEXT_STEP = "error: ", "  → "


class ComfyError(Exception):
    """An error with a one-sentence message.

    `message` says what happened, to which file, field or URL.
    `remedy` is the next step to try, or empty.
    `exit_code` is the command line's exit code.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def within(self, place: str) -> Self:
        """This error, whose message now starts with the place where it occurred."""
        self.message = f"{place}: {self.message}"
        self.args = (self.message,)
        return self

    def in_words(self) -> str:
        """The error as a terminal shows it: the message, then the next step on its own line.

        Control characters are escapes.
        """
        next_step = f"\n{_NEXT_STEP}{self.remedy}" if self.remedy else ""
        return printable(f"{_BEGINNING}{self.message}{next_step}")


class OperationFailedError(ComfyError):
    """An operation was started and failed."""

    exit_code = 1


class InvalidInputError(ComfyError):
    """An argument, a variable or a file is malformed or not allowed."""

    exit_code = 2


class UnavailableError(ComfyError):
    """Something required could not be reached or found."""

    exit_code = 3


class MismatchError(ComfyError):
    """A verification or a comparison failed."""

    exit_code = 4


_P = ParamSpec("_P")
_R = TypeVar("_R")
_T = TypeVar("_T")


class Faults:
    """Collects errors, such as those of several steps, to raise them as one."""

    def __init__(self, errors: Iterable[ComfyError] = ()) -> None:
        self._errors = list(errors)

    def add(self, error: ComfyError) -> None:
        self._errors.append(error)

    def catch(self, step: Callable[_P, _R], *arguments: _P.args, **named: _P.kwargs) -> _R | None:
        """The result of `step`; None if it failed."""
        try:
            return step(*arguments, **named)
        except ComfyError as error:
            self.add(error)
            return None

    def each(self, step: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
        """The results of `step` for the items for which it did not fail."""
        results = []
        for item in items:
            try:
                results.append(step(item))
            except ComfyError as error:
                self.add(error)
        return results

    @property
    def error(self) -> ComfyError | None:
        """One error for all that were collected; None if none were."""
        return together(self._errors) if self._errors else None

    def raise_all(self) -> None:
        """Raises one error for all that were collected, if any were."""
        if (error := self.error) is not None:
            raise error


def for_each(step: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
    """The results of `step` for each item. Raises one error for all items for which it fails."""
    faults = Faults()
    results = faults.each(step, items)
    faults.raise_all()
    return results


def together(errors: Sequence[ComfyError]) -> ComfyError:
    """One error for several, at least one: a line for each, with its remedy.

    Its kind is that of the first which is not about something out of reach.
    """
    by_text: dict[tuple[str, str], ComfyError] = {}
    for error in errors:
        by_text.setdefault((error.message, error.remedy), error)
    distinct = list(by_text.values())
    if len(distinct) == 1:
        return distinct[0]
    lines = [f"{error.message.rstrip('.')}. {error.remedy}".rstrip() for error in distinct]
    codes = [error.exit_code for error in distinct]
    code = next((code for code in codes if code != UnavailableError.exit_code), codes[0])
    message = f"there are {len(lines)} faults:{in_lines(lines)}"
    return error_kind(code)(message, remedy="Correct each of them.")


def error_kind(exit_code: int) -> type[ComfyError]:
    """The kind of error that a program of ours reports with this exit code."""
    kinds = (InvalidInputError, UnavailableError, MismatchError)
    return next((kind for kind in kinds if kind.exit_code == exit_code), OperationFailedError)


def error_at_the_end(lines: Sequence[str]) -> tuple[str, str] | None:
    """The message and the remedy of the error that a program of ours printed last, after any other
    output; None if the output does not end in one.
    """
    first = next((at for at in reversed(range(len(lines))) if lines[at].startswith(_BEGINNING)), -1)
    if first < 0:
        return None
    words = list(lines[first:])
    words[0] = words[0].removeprefix(_BEGINNING)
    step = next((at for at, line in enumerate(words) if line.startswith(_NEXT_STEP)), len(words))
    return "\n".join(words[:step]), "\n".join(words[step:]).removeprefix(_NEXT_STEP)
