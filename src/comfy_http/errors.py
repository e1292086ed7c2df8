"""What a web server answered instead of the file."""

from __future__ import annotations

from collections.abc import Mapping

from comfy_errors import UnavailableError


class StatusError(UnavailableError):
    """The server answered, but not with the file.

    `headers` are those of the answer, `body` its first bytes.
    """

    def __init__(
        self, message: str, *, remedy: str, status: int, headers: Mapping[str, str], body: bytes
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.status, self.headers, self.body = status, headers, body


class TransientError(UnavailableError):
    """The server may answer if it is asked again. `host` asked to wait `wait_s` seconds, which
    is None if there was no such wish.
    """

    def __init__(
        self, message: str, *, remedy: str, wait_s: float | None = None, host: str | None = None
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.wait_s, self.host = wait_s, host


class SilenceError(TransientError):
    """The server sent nothing for `silence_s` seconds."""

    def __init__(self, message: str, *, remedy: str, silence_s: float) -> None:
        super().__init__(message, remedy=remedy)
        self.silence_s = silence_s


class OtherRangeError(TransientError):
    """The server sends another part of the file than the one asked for."""
