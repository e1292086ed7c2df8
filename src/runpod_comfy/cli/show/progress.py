"""Work that takes a while as people see it: what arrives, an image's build, a push."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from comfy_files.sizes import readable_size
from comfy_files.status_line import StatusLine

if TYPE_CHECKING:
    from runpod_comfy.images.docker.build_progress import BuildStep
    from runpod_comfy.images.registry.push import PushedLayer

_BETWEEN_S = 0.1
_SHOWN_OF_A_DIGEST = len("sha256:") + 12


@dataclass(kw_only=True)
class _Count:
    here: int = 0
    in_all: int = 0
    here_bytes: int = 0
    in_all_bytes: int = 0

    def __str__(self) -> str:
        count = f"{self.here}/{self.in_all}"
        if not self.in_all_bytes:
            return count
        return f"{count}, {readable_size(self.here_bytes)} of {readable_size(self.in_all_bytes)}"


class ArrivalsDisplay:
    """One line for everything that arrives at the same time."""

    def __init__(self, line: StatusLine) -> None:
        self._line = line
        self._lock = threading.Lock()
        self._counts: dict[str, _Count] = {}
        self._drawn_at = 0.0

    def expect(self, part: str, *, count: int, size_bytes: int = 0) -> None:
        with self._lock:
            self._counts[part] = _Count(in_all=count, in_all_bytes=size_bytes)
            self._draw()

    def arrived(self, part: str, *, count: int = 0, size_bytes: int = 0) -> None:
        with self._lock:
            counted = self._counts.setdefault(part, _Count())
            counted.here += count
            counted.here_bytes += size_bytes
            if count or time.monotonic() - self._drawn_at > _BETWEEN_S:
                self._draw()

    def _draw(self) -> None:
        self._drawn_at = time.monotonic()
        counts = self._counts.items()
        self._line.show(
            " · ".join(f"{part} {count}" for part, count in counts if count.here < count.in_all)
        )


class BuildDisplay:
    """A line when a step begins and ends, and what it prints: all of it with `verbose`, else the
    last line, in place."""

    def __init__(self, line: StatusLine, *, verbose: bool) -> None:
        self._line = line
        self._verbose = verbose

    def started(self, step: str) -> None:
        self._line.show("")
        self._line.say(f"Building {step}")

    def output(self, step: str, line: str) -> None:
        show = self._line.say if self._verbose else self._line.show
        show(f"  {step}: {line}")

    def finished(self, step: BuildStep) -> None:
        self._line.show("")
        self._line.say(
            f"Kept {step.name}" if step.cached else f"Built {step.name} in {step.seconds:.1f} s"
        )


class PushDisplay:
    """A line for each layer, and how far all of them are."""

    def __init__(self, line: StatusLine) -> None:
        self._line = line

    def layer(self, layer: PushedLayer) -> None:
        how = {"existing": "is there already", "mounted": "is mounted"}.get(
            layer.how, f"pushed, {readable_size(layer.size_bytes or 0)}"
        )
        self._line.say(f"  {layer.digest[:_SHOWN_OF_A_DIGEST]} {how}")

    def under_way(self, sentence: str) -> None:
        self._line.show(f"  {sentence}".rstrip())
