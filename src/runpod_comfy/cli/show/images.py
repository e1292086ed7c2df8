"""How a build and a push are shown."""

from __future__ import annotations

from comfy_files.progress import NOTE, StatusLine, readable_size
from runpod_comfy.images.docker.build_progress import BuildShow, BuildStep
from runpod_comfy.images.registry.push import PushedLayer, PushShow

_SHOWN_OF_A_DIGEST = len("sha256:") + 12


class BuildDisplay(BuildShow):
    """A line when a step starts and ends, and its output: all of it with `verbose`, else its notes,
    and the last line in place.
    """

    def __init__(self, line: StatusLine, *, verbose: bool) -> None:
        self._line = line
        self._verbose = verbose

    def started(self, step: str) -> None:
        self._line.show("")
        self._line.say(f"Building {step}")

    def output(self, step: str, line: str) -> None:
        show = self._line.say if self._verbose or line.startswith(NOTE) else self._line.show
        show(f"  {step}: {line}")

    def finished(self, step: BuildStep) -> None:
        self._line.show("")
        self._line.say(
            f"Kept {step.name}" if step.cached else f"Built {step.name} in {step.seconds:.1f} s"
        )


class PushDisplay(PushShow):
    """A line for each layer, and the total progress."""

    def __init__(self, line: StatusLine) -> None:
        self._line = line

    def layer(self, layer: PushedLayer) -> None:
        how = {"existing": "already exists", "mounted": "is mounted"}.get(
            layer.how, f"pushed, {readable_size(layer.size_bytes or 0)}"
        )
        self._line.say(f"  {layer.digest[:_SHOWN_OF_A_DIGEST]} {how}")

    def under_way(self, sentence: str) -> None:
        self._line.show(f"  {sentence}".rstrip())
