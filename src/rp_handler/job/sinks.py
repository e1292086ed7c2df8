"""Where outputs go: a sink for each `--output`, which receives the files, then the result."""

from __future__ import annotations

import base64
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePath
from typing import Any

from comfy_errors import InvalidInputError, OperationFailedError
from comfy_files.files import can_write
from comfy_home.output_modes import OUTPUT_MODES
from rp_handler.interruption import in_thread

_LATER_MODES = ("gcs", "s3")


class OutputSink:
    """A destination for the outputs of one job. They are only kept if `finish` is called.

    Files are read and written in threads or by asynchronous requests, never in the event loop.
    Several `put` may run at the same time.
    """

    async def put(self, path: Path, place: PurePath) -> dict[str, Any]:
        """Stores the file at `path` under the name `place`. Returns how to reach it: `type`, and
        the keys of that type.
        """
        raise NotImplementedError

    async def finish(self, result: Mapping[str, Any]) -> None:
        """Stores the result document, after the last file."""

    async def abandon(self) -> None:
        """Discards the outputs. Called at the end of every job; does nothing after `finish`."""


class Base64Sink(OutputSink):
    """Puts the files into the result document itself."""

    async def put(self, path: Path, place: PurePath) -> dict[str, Any]:  # noqa: ARG002
        data = await in_thread(lambda: base64.b64encode(path.read_bytes()).decode("ascii"))
        return {"type": "base64", "data": data}


class FilesSink(OutputSink):
    """Files in a new folder `<output_dir>/<run>/`, with the document in `result.json`.

    The run's name is made of UTC time, workflow and a random id. Until it is complete, the folder
    is called `.<run>.partial`.
    """

    def __init__(self, output_dir: Path, workflow_name: str) -> None:
        now = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        run = f"{now}-{workflow_name}-{uuid.uuid4().hex[:8]}"
        self.folder = output_dir / run
        self._partial = output_dir / f".{run}.partial"

    async def put(self, path: Path, place: PurePath) -> dict[str, Any]:
        await in_thread(lambda: self._copy(path, place))
        return {"type": "file", "path": str(self.folder / place)}

    async def finish(self, result: Mapping[str, Any]) -> None:
        await in_thread(lambda: self._complete(result))

    async def abandon(self) -> None:
        await in_thread(lambda: shutil.rmtree(self._partial, ignore_errors=True))

    def _copy(self, path: Path, place: PurePath) -> None:
        target = self._partial / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)

    def _complete(self, result: Mapping[str, Any]) -> None:
        self._partial.mkdir(parents=True, exist_ok=True)
        text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
        (self._partial / "result.json").write_text(text, encoding="utf-8")
        os.rename(self._partial, self.folder)  # noqa: PTH104


def check_output_mode(mode: str) -> str:
    """Returns `mode` if outputs can be delivered that way. Raises InvalidInputError."""
    if mode in OUTPUT_MODES:
        return mode
    choice = "Use --output base64 or --output files."
    if mode in _LATER_MODES:
        raise InvalidInputError(f"--output {mode} is not supported yet.", remedy=choice)
    raise InvalidInputError(f'"{mode}" is not an output mode.', remedy=choice)


def sink_for(mode: str, *, output_dir: Path, workflow_name: str) -> OutputSink:
    """The sink of `mode`. Raises InvalidInputError, or OperationFailedError for the folder."""
    if check_output_mode(mode) == "base64":
        return Base64Sink()
    # Fails now, not after a run of many minutes.
    if not can_write(output_dir):
        raise OperationFailedError(
            f"{output_dir} is not writable.",
            remedy="Name another folder with --output-dir, or use --output base64.",
        )
    return FilesSink(output_dir, workflow_name)
