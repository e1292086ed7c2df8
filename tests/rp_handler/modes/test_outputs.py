"""What a job gets out through RunPod: updates, large results, and files in buckets."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from PIL import Image

from tests.graphs import node, saving, write_graph
from tests.http_server import cut
from tests.model_hosts.gcs import GcsDouble, gcs
from tests.model_hosts.s3 import KEY_ID, SECRET_KEY, S3Double, s3
from tests.rp_handler.modes.test_control_plane import (
    _in_an_image,
    cloud,
    content,
    send_text,
    sleeping,
    worker,
)
from tests.runpod_cloud.control_plane import ControlPlane

# Fixtures of the other file.
__all__ = ["_in_an_image", "cloud"]

# Each test starts a worker.
pytestmark = pytest.mark.slow


def test_outputs_are_shown_while_the_job_runs_and_are_in_the_result_once(
    cloud: ControlPlane,
) -> None:
    workflow = {"1": saving("first"), "2": {**sleeping("a")["1"]}, "3": saving("last")}
    workflow["2"]["inputs"]["after"] = ["1", 0]
    workflow["3"]["inputs"]["after"] = ["2", 0]
    with worker(cloud):
        job = cloud.send("a", workflow=workflow, events=["outputs"])
        cloud.until(lambda: job.progress and job.progress[-1]["outputs"]["files"])
        (first,) = job.progress[-1]["outputs"]["files"]
        assert base64.b64decode(first["data"]) == b"first"
        assert job.status == "IN_PROGRESS"
        Path("wake").touch()
        files = cloud.result_of(job).output["files"]
    assert [base64.b64decode(it["data"]) for it in files] == [b"first", b"last"]
    assert first == files[0]
    # The last update came before the result, which would be a breach otherwise, and is complete.
    assert job.progress[-1]["outputs"]["files"] == files
    assert job.progress[-1]["outputs"]["text"] == job.output["text"]


def test_the_latest_preview_is_shown_in_a_few_small_updates(cloud: ControlPlane) -> None:
    pictures = []
    for number in range(30):
        picture = Image.effect_noise((640, 640), 50 + number)
        picture.save(buffer := io.BytesIO(), format="JPEG", quality=100)
        pictures.append(base64.b64encode(buffer.getvalue()).decode())
    assert all(len(it) > 300_000 for it in pictures)
    Path("pictures").write_text(" ".join(pictures))
    shown = node("FixturePreview", file=str(Path("pictures").absolute()), kind=4)
    workflow = {"1": shown, "2": {**sleeping("a")["1"]}}
    with worker(cloud):
        began = time.monotonic()
        job = cloud.send("a", workflow=workflow, events=["previews"])
        cloud.until(lambda: job.progress)
        Path("wake").touch()
        assert cloud.result_of(job).status == "COMPLETED"
        seconds = time.monotonic() - began
    # One in 0.3 seconds, and the last.
    assert 1 <= len(job.progress) <= 2 + seconds / 0.3
    for update in job.progress:
        assert update["preview"]["node"] == "1"
        assert len(update["preview"]["data"]) < 270_000
    last = base64.b64decode(job.progress[-1]["preview"]["data"])
    with Image.open(io.BytesIO(last)) as picture:
        assert picture.size == (512, 512)


class Stored(Protocol):
    """A service with a bucket `results` for outputs."""

    mode: str
    variables: dict[str, str]

    def contents(self) -> dict[str, bytes]:
        """The objects by their names; no name may be there twice."""

    def stall_in_the_second_file(self) -> None:
        """Lets the service fall silent when it has the first file, and a part of the second."""

    def has_stalled(self) -> bool: ...

    def continue_taking(self) -> None: ...


class _Google:
    mode = "gcs"

    def __init__(self, double: GcsDouble) -> None:
        self._double = double
        double.bucket("results", "private")
        self.variables = {
            "GCS_BUCKET": "results",
            "GOOGLE_APPLICATION_CREDENTIALS": str(double.key_file()),
            "STORAGE_EMULATOR_HOST": double.url,
        }

    def contents(self) -> dict[str, bytes]:
        found = self._double.objects("results")
        assert len({it["name"] for it in found}) == len(found)
        return {it["name"]: it["content"] for it in found}

    def stall_in_the_second_file(self) -> None:
        # A small file is one request; a large one is announced, and sent in pieces of 8 MB.
        self._double.answer_next_uploads(None, None, None, _SILENCE)

    def has_stalled(self) -> bool:
        return sum("uploadType" in str(it["path"]) for it in self._double.asked) >= 4

    def continue_taking(self) -> None:
        self._double.answer_next_uploads()


class _Amazon:
    mode = "s3"

    def __init__(self, double: S3Double) -> None:
        self._double = double
        double.bucket("results")
        self.variables = {
            "BUCKET_ENDPOINT_URL": f"{double.url}/results",
            "BUCKET_ACCESS_KEY_ID": KEY_ID,
            "BUCKET_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": double.region,
        }

    def contents(self) -> dict[str, bytes]:
        listed = self._double.client.list_objects_v2(Bucket="results").get("Contents", [])
        read = self._double.client.get_object
        return {it["Key"]: read(Bucket="results", Key=it["Key"])["Body"].read() for it in listed}

    def stall_in_the_second_file(self) -> None:
        self._double.upload_answers = [None, _SILENCE]
        self._double.asked.clear()

    def has_stalled(self) -> bool:
        return sum(it.method == "PUT" for it in self._double.asked) >= 2

    def continue_taking(self) -> None:
        self._double.upload_answers = []


_SILENCE = cut(b"{}", 0, stalls=True)


@pytest.fixture
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stored]:
    if request.param == "gcs":
        with gcs(tmp_path / "gcs") as google:
            yield _Google(google)
    else:
        with s3() as amazon:
            yield _Amazon(amazon)


@pytest.fixture
def large(tmp_path: Path) -> str:
    """The name of a workflow with a file of 22.5 MB, which are 30 MB in base64."""
    (tmp_path / "workflows").mkdir()
    write_graph(tmp_path / "workflows/large.json", {"1": saving("x" * 22_500_000)})
    return "large"


def test_a_result_of_30_mb_fails_with_its_sizes_and_ways_out(
    cloud: ControlPlane, large: str
) -> None:
    with worker(cloud):
        # A larger result than the platform takes would be a breach.
        job = cloud.result_of(cloud.send("a", workflow=large))
        assert content(cloud.result_of(send_text(cloud, "b"))) == "b"
    assert (job.status, job.output["error_type"]) == ("FAILED", "output_too_large")
    assert job.error == "The result is 30.0 MB as JSON; RunPod accepts 10 MB."
    details = job.output["details"]
    assert details["files"] == {"x_00001.txt": 22_500_000}
    assert 30_000_000 < details["result_bytes"] < 30_010_000
    assert details["limit_bytes"] == 10_000_000
    assert "GCS_BUCKET or BUCKET_ENDPOINT_URL" in details["remedy"]


def test_a_job_that_asks_for_a_bucket_without_one_can_ask_for_something_else(
    cloud: ControlPlane,
) -> None:
    with worker(cloud):
        job = cloud.result_of(cloud.send("a", workflow={"1": saving("x")}, output="gcs"))
    assert job.status == "FAILED"
    assert 'or "output": "base64" in the job\'s input' in job.output["details"]["remedy"]


_BOTH = pytest.mark.parametrize("stored", ["gcs", "s3"], indirect=True)


@_BOTH
def test_a_result_of_30_mb_goes_to_the_bucket_that_there_is(
    cloud: ControlPlane, large: str, stored: Stored
) -> None:
    with worker(cloud, variables=stored.variables):
        job = cloud.result_of(cloud.send("a", workflow=large))
        assert content(cloud.result_of(send_text(cloud, "b"))) == "b"
    (file,) = job.output["files"]
    assert (file["bytes"], "data" in file) == (22_500_000, stored.mode == "s3")
    assert {name: len(it) for name, it in stored.contents().items()} == {
        "comfy/outputs/demo/a/x_00001.txt": 22_500_000
    }


@_BOTH
def test_a_worker_that_is_killed_in_an_upload_and_the_next_leave_one_object_of_each_file(
    cloud: ControlPlane, tmp_path: Path, stored: Stored
) -> None:
    (tmp_path / "workflows").mkdir()
    film = "film" * 5_000_000
    graph = {"1": saving("hello"), "2": saving(film, after=["1", 0], prefix="y", suffix=".mp4")}
    write_graph(tmp_path / "workflows/two.json", graph)
    job = cloud.send("a", workflow="two", output=stored.mode)
    stored.stall_in_the_second_file()
    with worker(cloud, variables=stored.variables) as process:
        cloud.until(lambda: stored.has_stalled())
        os.killpg(process.pid, signal.SIGKILL)
    assert job.status == "IN_PROGRESS"
    assert len(stored.contents()) <= 1
    stored.continue_taking()
    with worker(cloud, "other", variables=stored.variables):
        result = cloud.result_of(job).output
    assert job.deliveries == ["pod", "other"]
    assert stored.contents() == {
        "comfy/outputs/demo/a/x_00001.txt": b"hello",
        "comfy/outputs/demo/a/y_00001.mp4": film.encode(),
    }
    sums = {hashlib.sha256(it).hexdigest() for it in stored.contents().values()}
    assert {it["sha256"] for it in result["files"]} == sums


@_BOTH
def test_a_result_with_texts_of_12_mb_fails_also_with_a_bucket(
    cloud: ControlPlane, tmp_path: Path, stored: Stored
) -> None:
    (tmp_path / "workflows").mkdir()
    shows = node("FixtureShow", ui={"text": ["x" * 12_000_000]})
    write_graph(tmp_path / "workflows/large.json", {"1": shows})
    with worker(cloud, variables=stored.variables):
        jobs = [
            cloud.result_of(cloud.send(output, workflow="large", output=output))
            for output in (stored.mode, "base64")
        ]
    for job in jobs:
        assert job.output["error_type"] == "output_too_large"
        assert "12.0 MB" in str(job.error)
