from __future__ import annotations

import json

import pytest

from comfy_models.sources.hosts import Hosts
from comfy_models.volumes.bucket import Bucket, Entry
from comfy_models.volumes.record import Record
from comfy_models.volumes.volume import Volume
from tests.model_hosts.s3 import S3Double

SHA256 = "a" * 64
SMALL = Entry(size=1000, etag="1")
LARGE = Entry(size=64 << 20, etag="2")


@pytest.fixture
def bucket(volumes: list[Volume], hosts: Hosts) -> Bucket:
    return Bucket(volumes[0], hosts)


def _writes(double: S3Double) -> int:
    return sum(it.method == "PUT" for it in double.asked)


def test_a_large_file_is_written_down_at_once(bucket: Bucket) -> None:
    Record(bucket).note("models/a", LARGE, SHA256)
    assert Record(bucket).recall("models/a", LARGE) == SHA256


def test_small_files_are_written_down_together(double: S3Double, bucket: Bucket) -> None:
    record = Record(bucket)
    for number in range(300):
        record.note(f"models/{number}", SMALL, SHA256)
    record.save()
    record.save()
    assert _writes(double) == 1
    assert len(json.loads(b"".join(bucket.read("models/.comfy_volume.json")))["files"]) == 300


def test_what_takes_long_is_written_down_soon(
    double: S3Double, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_models.volumes.record._SAVED_AFTER_S", 0.0)
    record = Record(bucket)
    for number in range(3):
        record.note(f"models/{number}", SMALL, SHA256)
    assert _writes(double) == 3


def test_what_another_machine_wrote_meanwhile_stays(bucket: Bucket) -> None:
    one, other = Record(bucket), Record(bucket)
    one.note("models/a", SMALL, SHA256)
    other.note("models/b", SMALL, SHA256)
    one.save()
    other.save()
    found = Record(bucket)
    assert [found.recall(f"models/{name}", SMALL) for name in "ab"] == [SHA256] * 2


def test_a_file_that_changed_is_not_known(bucket: Bucket) -> None:
    record = Record(bucket)
    record.note("models/a", LARGE, SHA256)
    assert record.recall("models/a", Entry(size=LARGE.size, etag="3")) is None
    assert record.recall("models/b", LARGE) is None
