"""The base class of every error that a user may see, on the build side and on the run side.

Libraries raise these with data and a message; only a command line prints them and exits.
"""

from __future__ import annotations

from typing import ClassVar


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

    def in_words(self) -> str:
        """The error as a terminal shows it: the message, then the next step on its own line."""
        return f"error: {self.message}" + (f"\n  → {self.remedy}" if self.remedy else "")


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
