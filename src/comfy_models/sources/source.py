"""What every kind of source can do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from comfy_models.model_file import Pin


@dataclass(frozen=True, kw_only=True)
class HostFile:
    """What a host tells about a file without sending it; None is what it does not tell.

    `size` is in bytes, `sha256` has 64 hex digits, `name` is the file's name at the host.
    `moved_to` is its URL now, if the host has renamed it and still knows it by the old one.
    """

    size: int | None = None
    sha256: str | None = None
    pin: Pin = field(default_factory=Pin)
    name: str | None = None
    moved_to: str | None = None


class Stream(Protocol):
    """The bytes of a file from `start` on, which is 0 if the host ignored the range.

    `size` is that of the whole file in bytes, None if the host does not tell. Two streams with the
    same `validator` are of the same bytes; None guarantees nothing.
    """

    @property
    def start(self) -> int: ...
    @property
    def size(self) -> int | None: ...
    @property
    def validator(self) -> str | None: ...

    def read(self, size: int) -> bytes:
        """At most `size` bytes, none at the end of the range. Raises TransientError."""
        ...

    def close(self) -> None: ...


class Source(Protocol):
    """One file at one host. Several threads may use it at once."""

    def pin(self) -> HostFile:
        """Asks the host about the file. Nothing of it is downloaded but perhaps its first bytes.

        Raises AccessDeniedError, GoneError, NotAModelError, TransientError, UnavailableError.
        """
        ...

    def open(self, start: int, end: int | None, *, validator: str | None = None) -> Stream:
        """The bytes [start, end), to the end of the file if `end` is None.

        The stream starts at 0 if the file no longer has the `validator`. Raises ChangedError if the
        pinned file is no longer there, and otherwise as `pin` does.
        """
        ...


def head_of(stream: Stream, size: int) -> bytes:
    """The next `size` bytes of the stream, fewer where it ends. Raises as reading does."""
    head = bytearray()
    while len(head) < size and (chunk := stream.read(size - len(head))):
        head += chunk
    return bytes(head)
