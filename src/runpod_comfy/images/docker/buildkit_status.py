"""BuildKit's own record of a build, read from the protobuf messages in an engine's build stream.

The format is `StatusResponse` of moby/buildkit, api/services/control/control.proto. Only what a
person is shown is read; fields that are not known are passed over, so that newer engines work.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass

# Kinds of a protobuf field on the wire.
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED_64: 8, _FIXED_32: 4}
_NANOSECONDS = 1e-9

_Field = tuple[int, int | bytes]


@dataclass(frozen=True, kw_only=True)
class Vertex:
    """One step of a build as it stands now. Times are seconds since 1970."""

    digest: str
    name: str
    cached: bool
    started: float | None
    completed: float | None
    error: str


@dataclass(frozen=True, kw_only=True)
class VertexLog:
    """A piece of what a step printed on stream 1 or 2; lines may be cut anywhere."""

    vertex: str
    stream: int
    text: bytes


@dataclass(frozen=True, kw_only=True)
class VertexWarning:
    """What the builder finds doubtful about a step."""

    vertex: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One message: what has changed since the one before."""

    vertexes: tuple[Vertex, ...]
    logs: tuple[VertexLog, ...]
    warnings: tuple[VertexWarning, ...]


def read_trace(encoded: str) -> Trace:
    """The message in `aux` of a `moby.buildkit.trace` line: base64 of a StatusResponse.

    Raises ValueError for anything else.
    """
    try:
        content = base64.b64decode(encoded, validate=True)
    except (binascii.Error, TypeError) as error:
        raise ValueError(f"no base64: {error}") from error
    vertexes, logs, warnings = [], [], []
    for number, value in _fields(content):
        if number == 1:
            vertexes.append(_vertex(_as_bytes(value)))
        elif number == 3:
            logs.append(_log(_as_bytes(value)))
        elif number == 4:
            warnings.append(_warning(_as_bytes(value)))
    return Trace(vertexes=tuple(vertexes), logs=tuple(logs), warnings=tuple(warnings))


def _vertex(content: bytes) -> Vertex:
    found = dict(_fields(content))
    return Vertex(
        digest=_text(found.get(1)),
        name=_text(found.get(3)),
        cached=bool(found.get(4, 0)),
        started=_time(found.get(5)),
        completed=_time(found.get(6)),
        error=_text(found.get(7)),
    )


def _log(content: bytes) -> VertexLog:
    found = dict(_fields(content))
    return VertexLog(
        vertex=_text(found.get(1)),
        stream=_as_int(found.get(3, 0)),
        text=_as_bytes(found.get(4, b"")),
    )


def _warning(content: bytes) -> VertexWarning:
    found = dict(_fields(content))
    return VertexWarning(vertex=_text(found.get(1)), text=_text(found.get(3)))


def _time(value: int | bytes | None) -> float | None:
    """A google.protobuf.Timestamp."""
    if value is None:
        return None
    found = dict(_fields(_as_bytes(value)))
    return _as_int(found.get(1, 0)) + _as_int(found.get(2, 0)) * _NANOSECONDS


def _text(value: int | bytes | None) -> str:
    return "" if value is None else _as_bytes(value).decode("utf-8", "replace")


def _as_bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a number where a text belongs")
    return value


def _as_int(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise ValueError("a text where a number belongs")
    return value


def _fields(content: bytes) -> Iterator[_Field]:
    """Number and value of every field, in order."""
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
