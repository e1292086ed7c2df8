"""Delivers the files of one job: each is converted, gets a name, and goes to the sink."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from comfy_files.files import sha256_of
from rp_handler.interruption import in_thread, together
from rp_handler.outputs.mime import mime_of
from rp_handler.outputs.names import next_name
from rp_handler.outputs.sink import OutputSink
from rp_handler.pictures.convert import Conversion, Converted, Converter

# Files that are stored at the same time.
_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class OutputFile:
    """The file at `path`, which a node delivers as `place`: a path relative to the result."""

    node: str
    subfolder: str
    path: Path
    place: PurePath


class Delivery:
    """Delivers the files of one job to `sink`; use it as `async with Delivery(...)`."""

    def __init__(self, sink: OutputSink, conversion: Conversion | None = None) -> None:
        self.warnings: list[str] = []
        self._sink = sink
        self._converter = None
        if conversion is not None and not conversion.changes_nothing:
            self._converter = Converter(conversion)
        self._places: dict[PurePath, Path] = {}
        self._at_once = asyncio.Semaphore(_AT_ONCE)

    async def __aenter__(self) -> Delivery:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._converter is not None:
            await self._converter.close()

    async def deliver(self, files: Sequence[OutputFile]) -> list[dict[str, Any]]:
        """The entries of `files` in the result. A file whose name is taken by another one gets the
        next number.
        """
        converted = await self._converted(files)
        works = []
        for file, it in zip(files, converted, strict=True):
            is_renamed = it.suffix != file.place.suffix
            place = file.place.with_suffix(it.suffix) if is_renamed else file.place
            place = self._free(place, file.path)
            if it.warning:
                self.warnings.append(f"{place.name} of node {file.node} {it.warning}.")
            works.append(self._put(file, it.path, place))
        return await together(works)

    async def _converted(self, files: Sequence[OutputFile]) -> list[Converted]:
        if self._converter is None:
            return [Converted(path=file.path, suffix=file.place.suffix) for file in files]
        return await together([self._converter.convert(file.path) for file in files])

    def _free(self, place: PurePath, path: Path) -> PurePath:
        while self._places.setdefault(place, path) != path:
            place = place.with_name(next_name(place.name))
        return place

    async def _put(self, file: OutputFile, path: Path, place: PurePath) -> dict[str, Any]:
        async with self._at_once:
            delivered, digest = await together(
                [self._sink.put(path, place), in_thread(lambda: sha256_of(path))]
            )
        return {
            "filename": place.name,
            "subfolder": file.subfolder,
            "node": file.node,
            **delivered,
            "mime": mime_of(place.name),
            "bytes": path.stat().st_size,
            "sha256": digest,
        }
