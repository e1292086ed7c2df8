"""Why a host does not give a model, beyond being out of reach."""

from __future__ import annotations

from comfy_errors import MismatchError, UnavailableError


class AccessDeniedError(UnavailableError):
    """The file is gated or private, or its host wants a token for every file."""


class GoneError(UnavailableError):
    """The host no longer has the file, or has withdrawn it."""


class ChangedError(MismatchError):
    """The host has another file than the one that was pinned."""


class NotAModelError(MismatchError):
    """The host sent something else: a web page, an error, a Git LFS pointer."""
