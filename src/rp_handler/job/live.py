"""What a job's status shows while it runs: the parts that its `events` ask for."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

from comfy_errors import ComfyError
from rp_handler.engine.command import EngineFolders
from rp_handler.engine.preview import Preview
from rp_handler.engine.prompt import Progress, entries_of
from rp_handler.home.realized import Home
from rp_handler.interruption import in_thread
from rp_handler.job.delivery import Delivery
from rp_handler.job.result import output_file
from rp_handler.pictures.small import small_picture

Event = Literal["progress", "outputs", "previews"]

Update = Callable[[], Mapping[str, Any]]
"""Makes an update of a job's status, which is JSON, when it is sent; any thread may call it."""
Report = Callable[[Update], None]
"""Takes updates; one that was not yet sent is replaced by the next."""

# Of all outputs in an update, as JSON, and of the file of a preview.
_OUTPUTS_BYTES = 256 << 10
_PREVIEW_BYTES = 192 << 10
_PREVIEW_METHOD = "--preview-method"


class Live:
    """Follows one job; use it as `async with Live(...)` around the run.

    Each update holds all outputs so far, and the latest preview of the node that runs: clients see
    only the latest update.
    """

    def __init__(self, events: frozenset[Event], report: Report, delivery: Delivery) -> None:
        self._events, self._report, self._delivery = events, report, delivery
        self._progress: Progress | None = None
        self._preview: Preview | None = None
        self._works: set[asyncio.Task[None]] = set()
        self._empty()

    async def __aenter__(self) -> Live:
        return self

    async def __aexit__(self, *_: object) -> None:
        for work in self._works:
            work.cancel()
        await self.settled()

    def progress(self, progress: Progress) -> None:
        """Takes the progress of the graph."""
        if self._preview is not None and self._preview.node != progress.node:
            self._preview = None
        if "progress" in self._events:
            self._progress = progress
            self._send()

    def begin(self, folders: EngineFolders) -> None:
        """A run begins, perhaps again, whose files will be in `folders`."""
        self._folders = folders
        self._delivery.forget_early()
        self._empty()

    def executed(self, node: str, shown: Mapping[str, Any]) -> None:
        """Takes what a node that has run shows in the history, and delivers its files."""
        if "outputs" in self._events:
            self._works.add(asyncio.ensure_future(self._deliver(node, shown)))

    def preview(self, preview: Preview) -> None:
        """Takes a preview."""
        if "previews" in self._events:
            self._preview = preview
            self._send()

    async def settled(self) -> None:
        """Waits until all files so far are delivered."""
        await asyncio.gather(*self._works, return_exceptions=True)
        self._works.clear()

    def _empty(self) -> None:
        self._room = _OUTPUTS_BYTES
        self._outputs: dict[str, Any] = {"images": [], "files": [], "text": []}

    async def _deliver(self, node: str, shown: Mapping[str, Any]) -> None:
        entries = list(entries_of(shown))
        # A fault is one of the job when its result is delivered, where this is tried once more.
        with contextlib.suppress(ComfyError, OSError):
            named = [output_file(node, it, self._folders) for it in entries if isinstance(it, dict)]
            found = [file for file in named if file is not None]
            for entry, path in await self._delivery.early(found):
                kind = "images" if entry["mime"].startswith("image/") else "files"
                self._add(kind, await self._with_data(entry, path))
        for text in (it for it in entries if isinstance(it, str)):
            self._add("text", {"node": node, "text": text})
        self._send()

    async def _with_data(self, entry: dict[str, Any], path: Path) -> dict[str, Any]:
        """`entry` with the file itself, if there is no address of it, and room."""
        # Base64 has four characters for three bytes; the rest of an entry is short.
        if "type" in entry or entry["bytes"] * 4 // 3 + 2000 > self._room:
            return entry
        data = await in_thread(lambda: base64.b64encode(path.read_bytes()).decode("ascii"))
        return {**entry, "type": "base64", "data": data}

    def _add(self, kind: str, entry: Mapping[str, Any]) -> None:
        size = len(json.dumps(entry))
        # What was given to a sender must not change.
        if size > self._room:
            self._outputs = {**self._outputs, "left_out": self._outputs.get("left_out", 0) + 1}
            return
        self._room -= size
        self._outputs = {**self._outputs, kind: [*self._outputs[kind], entry]}

    def _send(self) -> None:
        outputs = self._outputs if "outputs" in self._events else None
        self._report(partial(_update, self._progress, outputs, self._preview))


def _update(
    progress: Progress | None, outputs: Mapping[str, Any] | None, preview: Preview | None
) -> Mapping[str, Any]:
    document = {} if progress is None else asdict(progress)
    if outputs is not None:
        document["outputs"] = outputs
    small = preview and small_picture(preview.content, preview.mime, _PREVIEW_BYTES)
    if preview and small:
        content, mime = small
        data = base64.b64encode(content).decode("ascii")
        document["preview"] = {"node": preview.node, "mime": mime, "data": data}
    return document


def preview_extra_data(arguments: Sequence[str]) -> dict[str, Any]:
    """What a newer core has to be sent for previews of samplers, unless its `arguments` ask for
    them.
    """
    return {} if _asks_for_previews(arguments) else {"preview_method": "auto"}


def preview_warnings(home: Home) -> list[str]:
    """Why there are no previews of samplers, if so. Reads a file."""
    if _asks_for_previews(home.manifest.comfy_args):
        return []
    with contextlib.suppress(OSError):
        source = (home.comfyui / "latent_preview.py").read_text(encoding="utf-8", errors="replace")
        # Cores since December 2025 let each prompt ask for them.
        if "def set_preview_method" in source:
            return []
    return [
        "This ComfyUI sends previews of samplers only if it is started for them: put "
        f'"{_PREVIEW_METHOD}" and "auto" into options.comfy_args of the version.'
    ]


def _asks_for_previews(arguments: Sequence[str]) -> bool:
    return any(argument.split("=")[0] == _PREVIEW_METHOD for argument in arguments)
