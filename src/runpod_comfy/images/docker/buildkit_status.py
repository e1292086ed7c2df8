"""Reads BuildKit's record of a build from the protobuf messages in an engine's build stream.

The format is `StatusResponse` of moby/buildkit, api/services/control/control.proto. Only fields
that are shown to the user are read; unknown fields are skipped, so that newer engines work.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass

# Wire types of protobuf fields.
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED_64: 8, _FIXED_32: 4}
_NANOSECONDS = 1e-9


@dataclass(frozen=True, kw_only=True)
class Vertex:
    """The current state of one step. Times are seconds since 1970."""

    digest: str
    name: str
    cached: bool
    started: float | None
    completed: float | None
    error: str


@dataclass(frozen=True, kw_only=True)
class VertexLog:
    """A chunk of a step's output on stream 1 or 2; lines may be cut anywhere."""

    vertex: str
    stream: int
    text: bytes


@dataclass(frozen=True, kw_only=True)
class VertexWarning:
    """A warning of the builder about a step."""

    vertex: str
    text: str


def read_trace(encoded: str) -> list[Vertex | VertexLog | VertexWarning]:
    """The changes since the previous message: steps, then output, then warnings.

    `encoded` is the message in `aux` of a `moby.buildkit.trace` line: base64 of a StatusResponse.
    Raises ValueError for anything else.
    """
    try:
        message = _Message(base64.b64decode(encoded, validate=True))
    except (ValueError, TypeError) as error:
        raise ValueError(f"not base64: {error}") from error
    return [
        *(
            Vertex(
                digest=each.text(1),
                name=each.text(3),
                cached=bool(each.number(4)),
                started=each.time(5),
                completed=each.time(6),
                error=each.text(7),
            )
            for each in message.messages(1)
        ),
        *(
            VertexLog(vertex=each.text(1), stream=each.number(3), text=each.content(4))
            for each in message.messages(3)
        ),
        *(VertexWarning(vertex=each.text(1), text=each.text(3)) for each in message.messages(4)),
    ]


class _Message:
    """A protobuf message. If a field occurs several times the last value is used, except in
    `messages`; a missing field is empty.
    """

    def __init__(self, content: bytes) -> None:
        self._fields = list(_fields(content))

    def messages(self, field: int) -> list[_Message]:
        return [_Message(content) for content in self._contents(field)]

    def content(self, field: int) -> bytes:
        return next(reversed(self._contents(field)), b"")

    def text(self, field: int) -> str:
        return self.content(field).decode("utf-8", "replace")

    def number(self, field: int) -> int:
        value = next((value for number, value in reversed(self._fields) if number == field), 0)
        if not isinstance(value, int):
            raise ValueError("text instead of a number")
        return value

    def time(self, field: int) -> float | None:
        """A google.protobuf.Timestamp, in seconds since 1970."""
        found = self.messages(field)
        return found[-1].number(1) + found[-1].number(2) * _NANOSECONDS if found else None

    def _contents(self, field: int) -> list[bytes]:
        found = []
        for number, value in self._fields:
            if number == field:
                if not isinstance(value, bytes):
                    raise ValueError("a number instead of text")
                found.append(value)
        return found


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The number and value of every field, in order."""
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        kind = tag & 7
        if kind == _VARINT:
            number, at = _varint(content, at)
            yield tag >> 3, number
            continue
        if kind == _BYTES:
            size, at = _varint(content, at)
        elif kind in _FIXED_BYTES:
            size = _FIXED_BYTES[kind]
        else:
            raise ValueError(f"a field of kind {kind}")
        if at + size > len(content):
            raise ValueError("it ends in the middle of a field")
        yield tag >> 3, content[at : at + size]
        at += size


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(content):
        value |= (content[at] & 0x7F) << shift
        at += 1
        if not content[at - 1] & 0x80:
            return value, at
        shift += 7
    raise ValueError("it ends in the middle of a number")
