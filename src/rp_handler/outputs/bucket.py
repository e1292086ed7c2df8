"""Outputs as files in a bucket, sent as soon as they are known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, Protocol

from rp_handler.interruption import in_thread
from rp_handler.outputs.inline import size_as_json, too_large
from rp_handler.outputs.mime import mime_of
from rp_handler.outputs.names import object_name
from rp_handler.outputs.sink import OutputSink

_WAY_OUT = (
    "Its files are in the bucket, so it has long texts or very many entries: save texts as files, "
    "or make fewer."
)


class OutputBucket(Protocol):
    """A bucket at some service. Several threads may use it."""

    @property
    def prefix(self) -> str:
        """Where the names of outputs in it start."""

    def upload(self, path: Path, name: str, mime: str) -> dict[str, Any]:
        """Sends the file at `path`. Returns how to reach it: `type`, and the keys of that type.

        Raises OutputUploadError, and OSError for the file.
        """


class BucketSink(OutputSink):
    """Files `<prefix>/<version>/<job>/<place>`.

    What a job leaves that fails has the names that its next attempt uses again.
    """

    takes_early = True

    def __init__(
        self,
        bucket: OutputBucket,
        *,
        version_id: str | None,
        job: str,
        limit_bytes: int | None = None,
    ) -> None:
        """`limit_bytes` limits the result document, which may have long texts."""
        self._bucket = bucket
        self._version_id, self._job = version_id, job
        self._limit_bytes = limit_bytes

    async def put(self, path: Path, place: PurePath) -> dict[str, Any]:
        name = object_name(self._bucket.prefix, self._version_id, self._job, place)
        return await in_thread(lambda: self._bucket.upload(path, name, mime_of(place.name)))

    async def finish(self, result: Mapping[str, Any]) -> None:
        """Raises OutputTooLargeError."""
        if self._limit_bytes is not None:
            size = await in_thread(lambda: size_as_json(result))
            if size > self._limit_bytes:
                raise too_large(size, self._limit_bytes, remedy=_WAY_OUT, files={})
