"""Uploads one file to a volume: in parts, and only those that an interrupted upload left out.

The service shows the file when all parts are there, never a part of it.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from comfy_errors import OperationFailedError
from comfy_files.parallel import end_if_interrupted, in_parallel
from comfy_http.retries import pause
from comfy_models.sources.buckets.s3_client import code_of
from comfy_models.volumes.bucket import Bucket, Entry

# RunPod takes at most 500 MB, and S3 at most 10,000 parts.
PART_BYTES = 64 << 20
_MOST_PARTS = 9_000
_AT_ONCE = 4
# RunPod puts the parts of a large file together before it answers, and may answer too late.
_ASSEMBLED_PER_S = 20e6
_ASSEMBLED_AFTER_S = 60.0
_POLL_S = 2.0
_MD5 = re.compile(r'"[0-9a-f]{32}"')

Count = Callable[[int], object]


@dataclass(frozen=True, kw_only=True)
class _Part:
    number: int
    start: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Upload:
    """Of the file `path` to `key`; `count` is called with the bytes that have been sent."""

    bucket: Bucket
    key: str
    path: Path
    count: Count

    def run(self) -> Entry:
        """What the volume has then. Raises as `Bucket.errors` does, and OSError."""
        size = self.path.stat().st_size
        before = self.bucket.entry(self.key)
        with self.bucket.errors(self.key):
            try:
                self._send(_parts(size))
            except Exception as error:
                if not _may_be_late(error):
                    raise
                self._await(before, size, error)
        entry = self.bucket.entry(self.key)
        if entry is None or entry.size != size:
            raise OperationFailedError(
                f"{self.key} has not arrived whole on volume {self.bucket.volume}",
                remedy="Check the free space of the volume, and run the command again.",
            )
        return entry

    def _send(self, parts: list[_Part]) -> None:
        upload_id, done = self._begun()
        tags = in_parallel(
            lambda part: self._sent(upload_id, part, done.get(part.number)),
            parts,
            threads=_AT_ONCE,
            give_up=True,
        )
        sent = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
        self.bucket.client.complete_multipart_upload(
            **self._named, UploadId=upload_id, MultipartUpload={"Parts": sent}
        )

    @property
    def _named(self) -> dict[str, str]:
        return {"Bucket": self.bucket.volume.id, "Key": self.key}

    def _begun(self) -> tuple[str, dict[int, Any]]:
        """An upload that was begun earlier or now, and its parts by their numbers."""
        client = self.bucket.client
        found = client.list_multipart_uploads(Bucket=self.bucket.volume.id, Prefix=self.key)
        begun = [it["UploadId"] for it in found.get("Uploads", []) if it["Key"] == self.key]
        if not begun:
            return client.create_multipart_upload(**self._named)["UploadId"], {}
        pages = client.get_paginator("list_parts").paginate(**self._named, UploadId=begun[-1])
        parts = {part["PartNumber"]: part for page in pages for part in page.get("Parts", [])}
        for other in begun[:-1]:
            client.abort_multipart_upload(**self._named, UploadId=other)
        return begun[-1], parts

    def _sent(self, upload_id: str, part: _Part, done: Any) -> str:
        """The tag of a part, which is sent unless it is there."""
        md5 = self._md5(part)
        if done is not None and (done["Size"], done["ETag"].strip('"')) == (part.size, md5):
            self.count(part.size)
            return str(done["ETag"])
        with self._body(part) as body:
            told = self.bucket.client.upload_part(
                **self._named, UploadId=upload_id, PartNumber=part.number, Body=body
            )
        tag = str(told["ETag"])
        if _MD5.fullmatch(tag) and tag.strip('"') != md5:
            raise OperationFailedError(
                f"{self.key} was damaged on its way to volume {self.bucket.volume}",
                remedy="Run the command again.",
            )
        return tag

    @contextmanager
    def _body(self, part: _Part) -> Iterator[Any]:
        from s3transfer.utils import ReadFileChunk

        def note(bytes_transferred: int) -> None:
            end_if_interrupted()
            self.count(bytes_transferred)

        with ReadFileChunk.from_filename(
            str(self.path), part.start, part.size, callbacks=[note], enable_callbacks=True
        ) as body:
            yield body

    def _md5(self, part: _Part) -> str:
        md5 = hashlib.md5(usedforsecurity=False)
        with self.path.open("rb") as file:
            file.seek(part.start)
            left = part.size
            while left:
                chunk = file.read(min(left, 1 << 20))
                md5.update(chunk)
                left -= len(chunk)
        return md5.hexdigest()

    def _await(self, before: Entry | None, size: int, error: Exception) -> None:
        """Waits for the file as long as the service may take, then raises `error`."""
        until = time.monotonic() + _ASSEMBLED_AFTER_S + size / _ASSEMBLED_PER_S
        while (entry := self.bucket.entry(self.key)) == before or entry is None:
            if time.monotonic() > until:
                raise error
            pause(_POLL_S)


def _may_be_late(error: Exception) -> bool:
    """Whether the file may appear nevertheless: the service answered too late, or there is no such
    upload any more because an earlier request, or another machine, has completed it.
    """
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

    if isinstance(error, ClientError):
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return status >= 500 or code_of(error) == "NoSuchUpload"
    return isinstance(error, ConnectionError | HTTPClientError)


def _parts(size: int) -> list[_Part]:
    """One at least, also of an empty file."""
    part_bytes = max(PART_BYTES, -(-size // _MOST_PARTS))
    return [
        _Part(number=number, start=start, size=min(part_bytes, size - start))
        for number, start in enumerate(range(0, max(size, 1), part_bytes), 1)
    ]
