"""Outputs as base64 in the result document itself."""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path, PurePath
from typing import Any

from rp_handler.errors import OutputTooLargeError
from rp_handler.interruption import by_size
from rp_handler.outputs.sink import OutputSink

# Of what is beside the files. A larger rest is noticed when the document is complete.
_REST_BYTES = 64 << 10
# What the worker and RunPod's SDK put around the document.
_AROUND_BYTES = 100
# How the SDK names jobs that RunPod does not see.
_LOCAL_API, _TEST_INPUT = "test-", "local_test"
_WAYS_OUT = (
    "Set GCS_BUCKET or BUCKET_ENDPOINT_URL in the worker, and large outputs go there; or ask for "
    "smaller or fewer outputs. /runsync accepts 20 MB, /run 10 MB."
)


class Base64Sink(OutputSink):
    """Puts the files into the result document itself.

    With a `limit_bytes` for the document as JSON, files that have no room in it go to the sink that
    `overflow` opens, if it is not None.
    """

    def __init__(
        self,
        *,
        limit_bytes: int | None = None,
        overflow: Callable[[], Awaitable[OutputSink]] | None = None,
    ) -> None:
        self._limit_bytes, self._open_overflow = limit_bytes, overflow
        self._overflow: OutputSink | None = None
        self._sizes: dict[str, int] = {}
        self._encoded_bytes = 0

    async def put(self, path: Path, place: PurePath) -> dict[str, Any]:
        size = path.stat().st_size
        self._sizes[place.as_posix()] = size
        encoded_bytes = (size + 2) // 3 * 4
        if self._open_overflow is not None and not self._has_room(encoded_bytes + _REST_BYTES):
            self._overflow = self._overflow or await self._open_overflow()
            return await self._overflow.put(path, place)
        has_room = self._has_room(encoded_bytes)
        self._encoded_bytes += encoded_bytes
        if not has_room:
            # `finish` refuses the result, and knows the sizes of all files by then.
            return {"type": "base64", "data": ""}
        data = await by_size(lambda: base64.b64encode(path.read_bytes()).decode("ascii"), size)
        return {"type": "base64", "data": data}

    async def finish(self, result: Mapping[str, Any]) -> None:
        """Raises OutputTooLargeError."""
        if self._limit_bytes is not None:
            size = self._encoded_bytes + size_as_json(_without_data(result))
            if size > self._limit_bytes:
                raise too_large(size, self._limit_bytes, remedy=_WAYS_OUT, files=self._sizes)
        if self._overflow is not None:
            await self._overflow.finish(result)

    async def abandon(self) -> None:
        if self._overflow is not None:
            await self._overflow.abandon()

    def _has_room(self, size: int) -> bool:
        return self._limit_bytes is None or self._encoded_bytes + size <= self._limit_bytes


def size_as_json(result: Mapping[str, Any]) -> int:
    """The bytes that a worker sends for `result`."""
    return len(json.dumps(result, ensure_ascii=False).encode()) + _AROUND_BYTES


def too_large(
    size: int, limit_bytes: int, *, remedy: str, files: Mapping[str, int]
) -> OutputTooLargeError:
    """The error for a result of `size` bytes; `files` are the sizes of its files by their names."""
    return OutputTooLargeError(
        f"The result is {size / 1e6:.1f} MB as JSON; RunPod accepts {limit_bytes / 1e6:g} MB.",
        remedy=remedy,
        details={"result_bytes": size, "limit_bytes": limit_bytes, "files": dict(files)},
    )


def _without_data(result: Mapping[str, Any]) -> dict[str, Any]:
    """`result` without the content of its files, which takes long to encode as JSON."""
    return {
        key: [_without_content(one) for one in value] if isinstance(value, list) else value
        for key, value in result.items()
    }


def _without_content(entry: Any) -> Any:
    is_file = isinstance(entry, Mapping) and entry.get("type") == "base64"
    return {**entry, "data": ""} if is_file else entry


def result_limit_bytes(job: str) -> int | None:
    """How large RunPod lets the result of a job be, by its id: those of /runsync start with sync-.
    None for a job of the SDK's local API or of a test.

    Larger ones are reported as completed, without any data.
    """
    if job.startswith(_LOCAL_API) or job == _TEST_INPUT:
        return None
    return 20_000_000 if job.startswith("sync-") else 10_000_000
