"""Addresses of files in buckets: `gs://BUCKET/FILE` and `s3://BUCKET/KEY`."""

from __future__ import annotations

BUCKET_SCHEMES = ("gs", "s3")


def bucket_and_key(url: str) -> tuple[str, str]:
    """Both as they are: keys are not quoted in such URLs."""
    bucket, _, key = url.partition("://")[2].partition("/")
    return bucket, key
