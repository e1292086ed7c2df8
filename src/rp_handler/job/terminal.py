"""A run as a user sees it: progress in a status line, the result document as lines of text."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from comfy_errors.names import escaped
from comfy_files.progress import SLOW_S, StatusLine
from rp_handler.engine.prompt import Listener, Progress


class NodesDisplay:
    """The node that runs and its steps, on a line that changes in place; where there is no
    terminal, a sentence for each node that takes longer than 2 seconds."""

    def __init__(self, line: StatusLine) -> None:
        self._line = line
        self._node = ""
        self._latest = ""
        self._timer: threading.Timer | None = None

    def show(self, progress: Progress) -> None:
        self._latest = progress_text(progress)
        if self._line.moving:
            self._line.show(self._latest)
        elif progress.node != self._node:
            self.end()
            self._node = progress.node
            self._timer = threading.Timer(SLOW_S, lambda: self._line.say(self._latest))
            self._timer.daemon = True
            self._timer.start()

    def end(self) -> None:
        """Removes the line."""
        if self._timer is not None:
            self._timer.cancel()
        self._node = ""
        self._line.clear()


@contextlib.contextmanager
def listening(line: StatusLine, *, shows_log: bool) -> Iterator[Listener]:
    """A listener for a person who waits: messages, the node that runs, and with `shows_log` what
    ComfyUI prints. The node's line is removed at the end of the block.
    """
    nodes = NodesDisplay(line)
    try:
        yield Listener(
            say=line.say,
            progress=nodes.show,
            log=(lambda text: line.say(f"comfyui: {text}")) if shows_log else None,
        )
    finally:
        nodes.end()


def progress_text(progress: Progress) -> str:
    """Where the run is: `[2/5] KSampler (3): 7/20`."""
    title = "" if progress.title in ("", progress.class_type) else f' "{progress.title}"'
    name = f"{progress.class_type}{title}".strip() or "node"
    place = f"[{progress.done + 1}/{max(progress.total, progress.done + 1)}]"
    return escaped(f"{place} {name} ({progress.node}){_steps(progress)}")


def _steps(progress: Progress) -> str:
    if progress.step is None or not progress.steps:
        return ""
    if progress.steps <= 1:
        return f": {progress.step / progress.steps:.0%}"
    return f": {progress.step:g}/{progress.steps:g}"


def result_lines(result: Mapping[str, Any]) -> list[str]:
    """One line per output: place, size and sha256, or a text's first line; or the smoke report."""
    if "counts" in result:
        return _smoke_lines(result)
    lines = [
        f"{_place(one)}  {_size(one)}  sha256:{one['sha256']}"
        for one in (*result["images"], *result["files"])
    ]
    for text in result["text"]:
        first, *rest = text["text"].splitlines() or [""]
        lines.append(f"text of node {text['node']}: {first}{' …' if rest else ''}")
    return [escaped(line) for line in lines]


def _place(output: Mapping[str, Any]) -> str:
    """The path of a file, the address of an object, or the URL of a file in S3."""
    return str(output.get("path") or output.get("uri") or output["data"])


def _size(output: Mapping[str, Any]) -> str:
    from PIL import Image, UnidentifiedImageError

    if output["mime"].startswith("image/") and "path" in output:
        with contextlib.suppress(UnidentifiedImageError, OSError), Image.open(output["path"]) as it:
            return f"{it.width}x{it.height}"
    return f"{output['bytes']} bytes"


def _smoke_lines(result: Mapping[str, Any]) -> list[str]:
    version, counts = result["version"], result["counts"]
    named = f" ({version['id']})" if version["id"] else ""
    devices = [
        f"device {one['name']}, {(one['memory_bytes'] or 0) / 2**30:.1f} GiB"
        for one in result["devices"]
    ]
    return [
        f"ComfyUI {version['comfyui']}{named}, Python {version['python']}, "
        f"torch {version['torch']}",
        *devices,
        f"{counts['nodes']} node classes, {counts['models']} model files",
        f"started in {result['timings']['start_ms']} ms",
    ]
