"""Uploads in parts, interrupted and continued."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_errors import OperationFailedError
from comfy_models.sources.hosts import Hosts
from comfy_models.volumes.bucket import Bucket, Entry
from comfy_models.volumes.upload import Upload
from comfy_models.volumes.volume import Volume
from tests.http_server import Answer, Request, serve
from tests.model_downloads import MIB
from tests.model_hosts.s3 import S3Double
from tests.program import start_python

KEY = "models/checkpoints/large.bin"
# S3 takes no smaller parts.
PART_BYTES = 5 * MIB
CONTENT = random.Random(3).randbytes(3 * PART_BYTES + 17)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfy_models.volumes.upload.PART_BYTES", PART_BYTES)
    monkeypatch.setattr("comfy_models.volumes.upload._POLL_S", 0.02)
    monkeypatch.setattr("comfy_models.volumes.upload._ASSEMBLED_AFTER_S", 1.0)


@pytest.fixture
def bucket(volumes: list[Volume], hosts: Hosts) -> Bucket:
    return Bucket(volumes[0], hosts)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "large.bin"
    path.write_bytes(CONTENT)
    return path


def _upload(bucket: Bucket, path: Path) -> tuple[Entry, int]:
    """What the volume has then, and how many bytes were counted."""
    counts: list[int] = []
    entry = Upload(bucket=bucket, key=KEY, path=path, count=counts.append).run()
    return entry, sum(counts)


def _parts_sent(double: S3Double) -> list[str]:
    return sorted(it.path.split("?")[1] for it in double.asked if "partNumber" in it.path)


def _has(bucket: Bucket, content: bytes) -> bool:
    return hashlib.sha256(b"".join(bucket.read(KEY))).digest() == hashlib.sha256(content).digest()


def test_a_large_file_is_sent_in_parts(double: S3Double, bucket: Bucket, file: Path) -> None:
    entry, counted = _upload(bucket, file)

    assert (entry.size, counted) == (len(CONTENT), len(CONTENT))
    assert len(_parts_sent(double)) == 4
    assert _has(bucket, CONTENT)


@pytest.mark.parametrize("content", [b"", b"x"])
def test_a_small_file_is_sent_too(content: bytes, bucket: Bucket, file: Path) -> None:
    file.write_bytes(content)

    assert _upload(bucket, file)[0].size == len(content)
    assert _has(bucket, content)


_KILLED = """
import pathlib, sys
from comfy_models.volumes import bucket, upload, volume
from tests.comfy_models.sources.reached import hosts_with
upload.PART_BYTES, upload._AT_ONCE = int(sys.argv[1]), 1
variables = dict(it.split("=", 1) for it in sys.argv[4:])
hosts = hosts_with(pathlib.Path(), variables)
place = bucket.Bucket(volume.volume_named("EU-RO-1/first", variables), hosts)
upload.Upload(bucket=place, key=sys.argv[2], path=pathlib.Path(sys.argv[3]), count=print).run()
"""


def _killed_upload(double: S3Double, file: Path, after_parts: int) -> None:
    variables = {**double.variables, "RUNPOD_S3_URL": double.url}
    listed = [f"{name}={value}" for name, value in variables.items()]
    with start_python("-c", _KILLED, PART_BYTES, KEY, file, *listed) as process:
        while len(_parts_sent(double)) <= after_parts:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()


def test_a_killed_upload_leaves_nothing_and_goes_on_where_it_was(
    double: S3Double, bucket: Bucket, file: Path
) -> None:
    _killed_upload(double, file, after_parts=2)
    assert bucket.entry(KEY) is None
    _settle(double)
    double.asked.clear()

    entry, counted = _upload(bucket, file)

    assert (entry.size, counted) == (len(CONTENT), len(CONTENT))
    assert 1 <= len(_parts_sent(double)) <= 2
    assert _has(bucket, CONTENT)
    assert "Uploads" not in double.client.list_multipart_uploads(Bucket="first")


def _settle(double: S3Double) -> None:
    """Waits until the server has dealt with what it got last."""
    seen = -1
    while seen != len(double.asked):
        seen = len(double.asked)
        time.sleep(0.3)


def test_parts_of_another_file_are_not_taken(double: S3Double, bucket: Bucket, file: Path) -> None:
    other = file.with_name("other.bin")
    other.write_bytes(CONTENT[::-1])
    _killed_upload(double, other, after_parts=2)
    _settle(double)

    _upload(bucket, file)

    assert _has(bucket, CONTENT)


Change = Callable[[Request, Answer], Answer]


@contextmanager
def _through(change: Change, double: S3Double, bucket: Bucket, hosts: Hosts) -> Iterator[Bucket]:
    """The same volume through a server that changes what the service answers."""

    def answer(request: Request) -> Answer:
        return change(request, double.answer(request))

    with serve(answering=answer) as url:
        yield Bucket(replace(bucket.volume, endpoint=url), hosts)


def _completes(request: Request) -> bool:
    return request.method == "POST" and "uploadId" in request.path


def test_a_file_that_is_put_together_after_the_answer_is_waited_for(
    double: S3Double, bucket: Bucket, hosts: Hosts, file: Path
) -> None:
    def late(request: Request, answer: Answer) -> Answer:
        return Answer(status=524, body=b"a timeout") if _completes(request) else answer

    with _through(late, double, bucket, hosts) as slow:
        entry, _ = _upload(slow, file)

    assert entry.size == len(CONTENT)
    assert _has(bucket, CONTENT)


def test_a_file_that_never_appears_is_reported(
    double: S3Double, bucket: Bucket, hosts: Hosts, file: Path
) -> None:
    double.put("first", KEY, CONTENT[::-1])

    def answer(request: Request) -> Answer | None:
        return Answer(status=500) if _completes(request) else double.answer(request)

    with serve(answering=answer) as url:
        broken = Bucket(replace(bucket.volume, endpoint=url), hosts)
        with pytest.raises(OperationFailedError, match="EU-RO-1/first"):
            _upload(broken, file)


def test_a_part_that_arrives_damaged_is_reported(
    double: S3Double, bucket: Bucket, hosts: Hosts, file: Path
) -> None:
    def damaged(request: Request, answer: Answer) -> Answer:
        is_second = "partNumber=2" in request.path
        return Answer(headers={"ETag": f'"{"0" * 32}"'}) if is_second else answer

    with (
        _through(damaged, double, bucket, hosts) as broken,
        pytest.raises(OperationFailedError, match="damaged on its way"),
    ):
        _upload(broken, file)


def test_two_machines_that_send_the_same_file_both_succeed(
    double: S3Double, bucket: Bucket, hosts: Hosts, volumes: list[Volume], file: Path
) -> None:
    errors: list[Exception] = []

    def send() -> None:
        try:
            _upload(Bucket(volumes[0], hosts), file)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert _has(bucket, CONTENT)
