"""Opens what outputs are delivered to, and makes the sink of a job."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from comfy_errors import OperationFailedError
from comfy_files.files import can_write
from comfy_files.progress import Say, say_nothing
from comfy_home.output_modes import BY_VARIABLE
from rp_handler.interruption import in_thread
from rp_handler.outputs.bucket import BucketSink, OutputBucket
from rp_handler.outputs.files import FilesSink
from rp_handler.outputs.gcs_settings import GcsSettings
from rp_handler.outputs.inline import Base64Sink
from rp_handler.outputs.modes import check_output_mode, named_bucket
from rp_handler.outputs.s3_settings import S3Settings
from rp_handler.outputs.sink import OutputSink


class Outputs:
    """The ways to deliver outputs in this process. A bucket is opened and checked once."""

    def __init__(
        self, environment: Mapping[str, str], *, output_dir: Path, explain: Say = say_nothing
    ) -> None:
        """`output_dir` is for files; `explain` gets signed URLs."""
        self._environment = environment
        self._output_dir = output_dir
        self._explain = explain
        self._buckets: dict[str, OutputBucket] = {}
        self._lock = asyncio.Lock()

    async def open(self, mode: str, *, instead: str = BY_VARIABLE) -> None:
        """Makes sure that outputs can be delivered this way, before a run of many minutes.

        `instead` is as in `check_output_mode`. Raises InvalidInputError, UnavailableError, and
        OperationFailedError for the folder.
        """
        check_output_mode(mode, self._environment, instead=instead)
        if mode in ("gcs", "s3"):
            await self._bucket(mode)
        if mode == "files" and not can_write(self._output_dir):
            raise OperationFailedError(
                f"{self._output_dir} is not writable.",
                remedy="Name another folder with --output-dir, or use --output base64.",
            )

    async def sink(
        self,
        mode: str,
        *,
        version_id: str | None,
        job: str,
        limit_bytes: int | None = None,
        bucket: S3Settings | None = None,
        instead: str = BY_VARIABLE,
    ) -> OutputSink:
        """The sink of the job with this id, or of a run with a name of `run_name`. Raises as `open`
        does.

        `limit_bytes` limits the result document. With base64, larger outputs then go to a bucket,
        if the environment names one. `bucket` is the job's own, instead of that of the mode.
        """
        if bucket is not None:
            opened = await in_thread(lambda: _opened_s3(bucket))
            return BucketSink(opened, version_id=version_id, job=job, limit_bytes=limit_bytes)
        await self.open(mode, instead=instead)
        if mode in ("gcs", "s3"):
            opened = await self._bucket(mode)
            return BucketSink(opened, version_id=version_id, job=job, limit_bytes=limit_bytes)
        if mode == "files":
            return FilesSink(self._output_dir, job)
        other = named_bucket(self._environment) if limit_bytes is not None else None
        return Base64Sink(
            limit_bytes=limit_bytes,
            overflow=(lambda: self.sink(other, version_id=version_id, job=job)) if other else None,
        )

    async def _bucket(self, mode: str) -> OutputBucket:
        async with self._lock:
            if mode not in self._buckets:
                self._buckets[mode] = await in_thread(
                    self._opened_gcs
                    if mode == "gcs"
                    else lambda: _opened_s3(S3Settings.of(self._environment))
                )
            return self._buckets[mode]

    # The clients are imported late: each takes about a second and 45 MB.
    def _opened_gcs(self) -> OutputBucket:
        from rp_handler.outputs.gcs import GcsBucket

        settings = GcsSettings.of(self._environment)
        bucket = GcsBucket(settings, explain=self._explain)
        if settings.validates:
            bucket.require()
        return bucket


def _opened_s3(settings: S3Settings) -> OutputBucket:
    from rp_handler.outputs.s3 import S3Bucket

    bucket = S3Bucket(settings)
    bucket.require()
    return bucket
