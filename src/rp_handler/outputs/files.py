"""Outputs as files of this machine."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from rp_handler.interruption import in_thread
from rp_handler.outputs.sink import OutputSink


class FilesSink(OutputSink):
    """Files in a new folder `<output_dir>/<run>/`, with the document in `result.json`.

    Until it is complete, the folder is called `.<run>.partial`.
    """

    def __init__(self, output_dir: Path, run: str) -> None:
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
