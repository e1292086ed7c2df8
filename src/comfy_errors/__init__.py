"""The one root of every error that a person may see, on the build side and on the run side.

Libraries raise these with data and a sentence; only a command line prints them and exits.
"""

from __future__ import annotations

from typing import ClassVar


class ComfyError(Exception):
    """An error in one sentence.

    `message` says what happened, to which file, field or URL.
    `remedy` is the next step to try, or empty.
    `exit_code` is what a command line ends with.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def in_words(self) -> str:
        """The error as a terminal shows it: the sentence, and the next step on its own line."""
        return f"error: {self.message}" + (f"\n  → {self.remedy}" if self.remedy else "")


class OperationFailedError(ComfyError):
    """Something that was started did not succeed."""

    exit_code = 1


class InvalidInputError(ComfyError):
    """What a person or a file said cannot be understood or is not allowed."""

    exit_code = 2


class UnavailableError(ComfyError):
    """Something needed could not be reached or found."""

    exit_code = 3


class MismatchError(ComfyError):
    """A verification or a comparison did not hold."""

    exit_code = 4
