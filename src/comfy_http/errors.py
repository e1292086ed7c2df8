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
    """The server may answer if it is asked again; it asked to wait `wait_s` seconds, or did not
    say.
    """

    def __init__(self, message: str, *, remedy: str, wait_s: float | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.wait_s = wait_s
