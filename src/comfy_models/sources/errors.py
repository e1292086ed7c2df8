"""Why a host does not give a model, beyond being out of reach."""

from __future__ import annotations

from comfy_errors import MismatchError, UnavailableError


def other_bytes_remedy(*, is_here: bool) -> str:
    """What to do about a source that does not have the pinned bytes; `is_here` for a file of this
    machine.
    """
    first = "Put the right file there." if is_here else "Find out why it changed."
    return (
        f"{first} To accept it, correct 'checksum' in the spec if it is there, and resolve the "
        "version again with --upgrade."
    )


def not_a_model_remedy(*, is_here: bool) -> str:
    """What to do about a source that has something else than a model."""
    if is_here:
        return "Put the right file there, or correct 'source' in the spec."
    return "Correct 'source' in the spec: use the address of the download itself."


class AccessDeniedError(UnavailableError):
    """The file is gated or private, or its host wants a token for every file."""


class GoneError(UnavailableError):
    """The host no longer has the file, or has withdrawn it."""


class ChangedError(MismatchError):
    """The host has another file than the one that was pinned."""


class NotAModelError(MismatchError):
    """The host sent something else: a web page, an error, a Git LFS pointer."""
