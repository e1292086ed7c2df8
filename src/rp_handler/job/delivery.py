"""Delivers the files of one job: each is converted, gets a name, and goes to the sink."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from comfy_files.files import sha256_of
from rp_handler.interruption import SMALL_BYTES, by_size, together
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


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """The file to deliver, and its name."""

    path: Path
    place: PurePath


@dataclass(frozen=True, kw_only=True)
class _Early:
    """What was done with the file that was at `path` and had this `stamp`. `entry` is None if it
    was not delivered.
    """

    path: Path
    stamp: tuple[int, int, int]
    ready: _Ready
    entry: dict[str, Any] | None = None

    def ready_now(self, file: OutputFile) -> _Ready:
        """The engine's files are moved when a run has ended."""
        return replace(self.ready, path=file.path) if self.ready.path == self.path else self.ready


class Delivery:
    """Delivers the files of one job to `sink`; use it as `async with Delivery(...)`."""

    def __init__(self, sink: OutputSink, conversion: Conversion | None = None) -> None:
        self.warnings: list[str] = []
        self._sink = sink
        self._conversion = conversion
        self._converter = None
        if conversion is not None and not conversion.changes_nothing:
            self._converter = Converter(conversion)
        self._places: dict[PurePath, Path] = {}
        self._early: dict[tuple[str, PurePath], _Early] = {}
        self._at_once = asyncio.Semaphore(_AT_ONCE)

    async def __aenter__(self) -> Delivery:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._converter is not None:
            await self._converter.close()

    def put_into_pictures(self, texts: Mapping[str, str]) -> None:
        """Pictures that are delivered from now on get `texts`, unless the job strips metadata."""
        asked = self._conversion or Conversion()
        if asked.metadata == "keep":
            self._converter = Converter(asked, texts)

    async def deliver(self, files: Sequence[OutputFile]) -> list[dict[str, Any]]:
        """The entries of `files` in the result. A file whose name is taken by another one gets the
        next number.
        """
        early = [self._found_early(file) for file in files]
        new = [file for file, it in zip(files, early, strict=True) if it is None]
        made = iter(await self._ready(new))
        works = []
        for file, known in zip(files, early, strict=True):
            if known is None:
                works.append(self._put(file, next(made)))
            elif known.entry is None:
                works.append(self._put(file, known.ready_now(file)))
            else:
                works.append(_delivered(known.entry))
        return await together(works)

    async def early(self, files: Sequence[OutputFile]) -> list[tuple[dict[str, Any], Path]]:
        """Delivers `files` before the others, while the run may still fail: `deliver` does not
        repeat it, unless they change. Returns their entries, and the files that were delivered.

        If the sink does not take files early, the entries lack how to reach them.
        """
        stamps = [_stamp(file.path) for file in files]
        ready = await self._ready(files)
        known = [
            _Early(path=file.path, stamp=stamp, ready=it)
            for file, stamp, it in zip(files, stamps, ready, strict=True)
        ]
        keys = [(file.node, file.place) for file in files]
        self._early.update(zip(keys, known, strict=True))
        entry_of = self._put if self._sink.takes_early else self._described
        # `deliver` tries again what fails here.
        entries = await together(
            [entry_of(file, it.ready) for file, it in zip(files, known, strict=True)]
        )
        if self._sink.takes_early:
            for key, it, entry in zip(keys, known, entries, strict=True):
                self._early[key] = replace(it, entry=entry)
        return [(entry, it.ready.path) for entry, it in zip(entries, known, strict=True)]

    def forget_early(self) -> None:
        """The run begins again: its files will be others, of the names of those so far."""
        self._early.clear()
        self._places.clear()
        self.warnings.clear()

    def _found_early(self, file: OutputFile) -> _Early | None:
        key = (file.node, file.place)
        early = self._early.get(key)
        if early is not None and early.stamp != _stamp(file.path):
            del self._early[key]
            self._places.pop(early.ready.place, None)
            return None
        return early

    async def _ready(self, files: Sequence[OutputFile]) -> list[_Ready]:
        """Converts `files` and names them."""
        found = []
        for file, it in zip(files, await self._converted(files), strict=True):
            is_renamed = it.suffix != file.place.suffix
            place = file.place.with_suffix(it.suffix) if is_renamed else file.place
            place = self._free(place, file.path)
            if it.warning:
                self.warnings.append(f"{place.name} of node {file.node} {it.warning}.")
            found.append(_Ready(path=it.path, place=place))
        return found

    async def _converted(self, files: Sequence[OutputFile]) -> list[Converted]:
        if self._converter is None:
            return [Converted(path=file.path, suffix=file.place.suffix) for file in files]
        return await together([self._converter.convert(file.path) for file in files])

    def _free(self, place: PurePath, path: Path) -> PurePath:
        while self._places.setdefault(place, path) != path:
            place = place.with_name(next_name(place.name))
        return place

    async def _put(self, file: OutputFile, ready: _Ready) -> dict[str, Any]:
        async with self._at_once:
            if ready.path.stat().st_size <= SMALL_BYTES:
                # Quicker than to start two tasks.
                delivered = await self._sink.put(ready.path, ready.place)
                digest = sha256_of(ready.path)
            else:
                delivered, digest = await together(
                    [self._sink.put(ready.path, ready.place), _sha256_of(ready.path)]
                )
        return _entry(file, ready, delivered, digest)

    async def _described(self, file: OutputFile, ready: _Ready) -> dict[str, Any]:
        return _entry(file, ready, {}, await _sha256_of(ready.path))


def _entry(
    file: OutputFile, ready: _Ready, delivered: Mapping[str, Any], digest: str
) -> dict[str, Any]:
    return {
        "filename": ready.place.name,
        "subfolder": file.subfolder,
        "node": file.node,
        **delivered,
        "mime": mime_of(ready.place.name),
        "bytes": ready.path.stat().st_size,
        "sha256": digest,
    }


async def _sha256_of(path: Path) -> str:
    return await by_size(lambda: sha256_of(path), path.stat().st_size)


async def _delivered(entry: dict[str, Any]) -> dict[str, Any]:
    return entry


def _stamp(path: Path) -> tuple[int, int, int]:
    """What changes if a file is written again, but not if it is moved."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
