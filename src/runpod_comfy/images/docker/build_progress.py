"""The progress of a build: BuildKit's protobuf messages, read from an engine's build stream,
combined into steps, and reported to a display.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from comfy_http.redaction import without_secrets

# Wire types of protobuf fields.
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED_64: 8, _FIXED_32: 4}
_NANOSECONDS = 1e-9
_LAST_LINES = 20
_LAYER = re.compile(r"""\bLAYER=(?:'([^']*)'|"([^"]*)"|(\S+))""")
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-_])")


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

    The format is `StatusResponse` of moby/buildkit, api/services/control/control.proto. Only fields
    that are shown to the user are read; unknown fields are skipped, so that newer engines work.

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


@dataclass(frozen=True, kw_only=True)
class BuildStep:
    """A finished step. `name` is its layer's, else BuildKit's; a `cached` step was not run."""

    name: str
    cached: bool
    seconds: float


@dataclass(frozen=True, kw_only=True)
class StepFailure:
    """A step that failed, with its whole output; `layer` is None for BuildKit's own steps."""

    layer: str | None
    step: str
    reason: str
    lines: tuple[str, ...]

    @property
    def last_lines(self) -> tuple[str, ...]:
        return self.lines[-_LAST_LINES:]


class BuildShow:
    """Shows a build; this base class shows nothing. `step` is a step's name."""

    def started(self, step: str) -> None:
        """The step is running."""

    def output(self, step: str, line: str) -> None:
        """The step printed a line."""

    def finished(self, step: BuildStep) -> None:
        """The step succeeded or was cached."""


@dataclass(kw_only=True)
class _Running:
    """A step as reported so far. `runs` are its start and end times: it may be resumed."""

    vertex: Vertex
    runs: dict[float, float | None] = field(default_factory=dict)
    rest: dict[int, bytes] = field(default_factory=dict)
    # BuildKit passes on 2 MiB of a step at most.
    lines: list[str] = field(default_factory=list)
    told_start: bool = False
    outcome: BuildStep | None = None

    @property
    def name(self) -> str:
        return step_name(self.vertex.name)


class BuildProgress:
    """Handles the messages of one build."""

    def __init__(self, show: BuildShow) -> None:
        self._show = show
        self._steps: dict[str, _Running] = {}

    def handle(self, change: Vertex | VertexLog | VertexWarning) -> None:
        """Handles one change that BuildKit reports."""
        if isinstance(change, Vertex):
            self._vertex(change)
        elif step := self._steps.get(change.vertex):
            if isinstance(change, VertexLog):
                self._log(step, change)
            else:
                self._line(step, f"Warning: {change.text}")

    def steps(self) -> tuple[BuildStep, ...]:
        """All steps that succeeded, in no particular order."""
        return tuple(step.outcome for step in self._steps.values() if step.outcome)

    def failure(self) -> StepFailure | None:
        """The step that failed, if any; steps that ran in parallel were cancelled."""
        failed = [step for step in self._steps.values() if step.vertex.error]
        for step in sorted(failed, key=lambda step: "context canceled" in step.vertex.error):
            self._flush(step)
            return StepFailure(
                layer=layer_in(step.vertex.name),
                step=step.vertex.name,
                reason=step.vertex.error,
                lines=tuple(step.lines),
            )
        return None

    def _vertex(self, vertex: Vertex) -> None:
        step = self._steps.setdefault(vertex.digest, _Running(vertex=vertex))
        step.vertex = vertex
        if vertex.started is None:
            return
        step.runs[vertex.started] = vertex.completed
        if not step.told_start:
            step.told_start = True
            if not vertex.cached:
                self._show.started(step.name)
        # A finished step is reported again as cached when a later step needs it.
        if vertex.completed is not None and not vertex.error and step.outcome is None:
            self._flush(step)
            ended = ((start, end) for start, end in step.runs.items() if end is not None)
            seconds = round(sum(end - start for start, end in ended), 3)
            step.outcome = BuildStep(name=step.name, cached=vertex.cached, seconds=seconds)
            self._show.finished(step.outcome)

    def _log(self, step: _Running, log: VertexLog) -> None:
        *lines, rest = (step.rest.get(log.stream, b"") + log.text).split(b"\n")
        step.rest[log.stream] = rest
        for line in lines:
            self._line(step, line.decode("utf-8", "replace"))

    def _flush(self, step: _Running) -> None:
        for rest in step.rest.values():
            self._line(step, rest.decode("utf-8", "replace"))
        step.rest.clear()

    def _line(self, step: _Running, line: str) -> None:
        line = readable_line(line)
        if line:
            step.lines.append(line)
            self._show.output(step.name, line)


def step_name(vertex_name: str) -> str:
    """The layer that a step makes, else BuildKit's own name for the step."""
    return layer_in(vertex_name) or vertex_name


def layer_in(vertex_name: str) -> str | None:
    """The name after `LAYER=`, which precedes the command of every step that makes a layer."""
    found = _LAYER.search(vertex_name)
    return next((name for name in found.groups() if name), None) if found else None


def readable_line(line: str) -> str:
    """A line as a terminal finally shows it: without colours, after its last carriage return."""
    shown = _ESCAPES.sub("", line).rstrip().rsplit("\r", 1)[-1]
    return without_secrets("".join(char for char in shown if char.isprintable() or char == "\t"))
