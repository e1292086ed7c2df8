"""The progress of a build: BuildKit's messages combined into steps, and reported to a display."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from comfy_http.redaction import without_secrets
from runpod_comfy.images.docker.buildkit_status import Vertex, VertexLog, VertexWarning

_LAST_LINES = 20
_LAYER = re.compile(r"""\bLAYER=(?:'([^']*)'|"([^"]*)"|(\S+))""")
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-_])")


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
