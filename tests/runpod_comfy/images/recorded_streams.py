"""Build streams of real engines, recorded line by line, and shows that write down what they see."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from runpod_comfy.images.docker.build_progress import (
    BuildProgress,
    BuildShow,
    BuildStep,
    read_trace,
)

ENGINES = ("20.10", "26.1")
_STREAMS = Path(__file__).parent / "streams"


@dataclass
class WrittenDown(BuildShow):
    """What a build showed, in order."""

    started_steps: list[str] = field(default_factory=list)
    lines: list[tuple[str, str]] = field(default_factory=list)
    finished_steps: list[BuildStep] = field(default_factory=list)

    def started(self, step: str) -> None:
        self.started_steps.append(step)

    def output(self, step: str, line: str) -> None:
        self.lines.append((step, line))

    def finished(self, step: BuildStep) -> None:
        self.finished_steps.append(step)


def recorded(engine: str, build: str) -> bytes:
    """All that an engine answered to a build: `built`, `cached` or `failed`."""
    return (_STREAMS / f"engine-{engine}-{build}.jsonl").read_bytes()


def traces(engine: str, build: str) -> list[str]:
    """The encoded traces of a recorded build."""
    messages = [json.loads(line) for line in recorded(engine, build).splitlines()]
    return [each["aux"] for each in messages if each.get("id") == "moby.buildkit.trace"]


def replay(engine: str, build: str) -> tuple[BuildProgress, WrittenDown]:
    """A recorded build, as it is passed to what shows it."""
    shown = WrittenDown()
    progress = BuildProgress(shown)
    for each in traces(engine, build):
        for change in read_trace(each):
            progress.handle(change)
    return progress, shown
