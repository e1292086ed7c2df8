"""The control plane through RunPod's own SDK, and requests that break its contract."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.program import start_python
from tests.runpod_cloud.control_plane import KEY, RESULT_BYTES, CloudJob, ControlPlane

_WORKER = """
import asyncio, os, runpod.serverless as sdk

async def answer(job):
    asked = job["input"]
    if "progress" in asked:
        sdk.progress_update(job, asked["progress"])
        await asyncio.sleep(1)
    if asked.get("waits"):
        await asyncio.sleep(600)
    if "raises" in asked:
        raise ValueError(asked["raises"])
    return {"said": asked}

async def pieces(job):
    for piece in job["input"]["pieces"]:
        yield piece

size = int(os.environ["SIZE"])
sdk.start({
    "handler": pieces if os.environ["STREAMS"] else answer,
    "return_aggregate_stream": True,
    "concurrency_modifier": lambda _: size,
})
"""


@contextlib.contextmanager
def worker(cloud: ControlPlane, *, size: int = 1, streams: bool = False) -> Iterator[None]:
    variables = {
        **cloud.variables("pod"),
        "SIZE": str(size),
        "STREAMS": "yes" if streams else "",
        "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
        "RUNPOD_SKIP_GPU_CHECK": "true",
    }
    process = start_python(
        "-c", _WORKER, variables=variables, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield
    finally:
        # With the process that pings.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
def test_the_sdk_takes_jobs_reports_progress_and_pings_for_them() -> None:
    with ControlPlane().served() as cloud, worker(cloud):
        job = cloud.send("a", progress={"step": 1})
        assert cloud.result_of(job).output == {"said": {"progress": {"step": 1}}}
        assert job.progress == [{"step": 1}]
        failed = cloud.result_of(cloud.send("b", raises="no"))
        assert failed.status == "FAILED"
        assert "no" in (failed.error or "")
        stopped = cloud.send("c", progress="began", waits=True)
        cloud.until(lambda: stopped.progress)
        cloud.until(lambda: any("c" in ping.jobs for ping in cloud.pings["pod"]))
        cloud.cancel(stopped)
        assert cloud.result_of(cloud.send("d")).output == {"said": {}}
        assert stopped.status == "CANCELLED"
        assert stopped.ignored == 0


@pytest.mark.slow
def test_the_sdk_takes_batches() -> None:
    with ControlPlane().served() as cloud:
        jobs = cloud.send_all({name: {"n": name} for name in "abcd"})
        with worker(cloud, size=3):
            assert [cloud.result_of(job).output["said"]["n"] for job in jobs] == list("abcd")
        assert cloud.batch_sizes[0] == 3


@pytest.mark.slow
def test_the_sdk_streams() -> None:
    with ControlPlane().served() as cloud, worker(cloud, streams=True):
        job = cloud.result_of(cloud.send("a", pieces=[1, 2]))
        assert job.stream == job.output == [1, 2]


def test_a_job_of_a_worker_that_went_silent_is_given_to_another() -> None:
    with ControlPlane(silence_s=1).served() as cloud:
        job = cloud.send("a")
        assert _ask(cloud, "job-take/first", "&job_in_progress=0")["id"] == "a"
        while _ask(cloud, "job-take/second", "&job_in_progress=0") is None:
            assert time.monotonic() - job.heard_of < 30
        assert job.deliveries == ["first", "second"]


def _ask(
    cloud: ControlPlane, path: str, query: str = "", document: Any = None, **headers: str
) -> Any:
    """The JSON that the worker gets, or the status of a refusal."""
    base = cloud.variables("pod")["RUNPOD_WEBHOOK_PING"].partition("/ping/")[0]
    request = urllib.request.Request(
        f"{base}/{path}?gpu=NVIDIA+L4{query}",
        data=None if document is None else json.dumps(document).encode(),
        headers={"Authorization": KEY, "X-Request-ID": path.rpartition("/")[2], **headers},
    )
    try:
        with urllib.request.urlopen(request) as answer:
            text = answer.read()
    except urllib.error.HTTPError as error:
        return error.code
    return json.loads(text) if text else None


@contextlib.contextmanager
def taken() -> Iterator[tuple[ControlPlane, CloudJob]]:
    """A job that the worker `pod` has, where a breach is expected."""
    cloud = ControlPlane()
    try:
        with cloud.served():
            job = cloud.send("a")
            assert _ask(cloud, "job-take/pod", "&job_in_progress=0")["id"] == "a"
            yield cloud, job
    except pytest.fail.Exception:
        return
    pytest.fail("nothing was refused")


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"output": 1, "more": 2},
        {"error": {"why": "an object"}},
        {"error": ""},
        {"status": "IN_PROGRESS"},
        {"output": "x" * RESULT_BYTES},
    ],
)
def test_a_result_that_the_platform_could_not_read_is_refused(document: Any) -> None:
    with taken() as (cloud, job):
        assert _ask(cloud, "job-done/pod/a", "&isStream=false", document) in (413, 422)
        assert job.status == "IN_PROGRESS"


def test_what_comes_after_a_result_is_refused() -> None:
    with taken() as (cloud, job):
        done = ("job-done/pod/a", "&isStream=false")
        assert _ask(cloud, *done, {"output": 1}) is None
        assert _ask(cloud, *done, {"output": 2}) == 422
        assert _ask(cloud, *done, {"status": "IN_PROGRESS", "output": 3}) == 422
        assert _ask(cloud, "job-stream/pod/a", "&isStream=false", {"output": 4}) == 422
        assert (job.output, job.status, job.progress) == (1, "COMPLETED", [])


@pytest.mark.parametrize(
    ("path", "query", "document", "status"),
    [
        ("job-take/pod", "&job_in_progress=0", None, 422),  # It has job a.
        ("job-take/pod", "", None, 422),
        ("job-take-batch/pod", "&job_in_progress=1&batch_size=1", None, 422),
        ("job-done/other/a", "&isStream=false", {"output": 1}, 404),
        ("job-done/pod/b", "&isStream=false", {"output": 1}, 404),
        ("job-done/pod/a", "", {"output": 1}, 422),
        ("job-done/pod/a", "&isStream=false", None, 405),
        ("ping/pod", "&runpod_version=1.12.0&job_id=a,b", None, 422),
        ("ping/pod", "&runpod_version=1.10.0", None, 422),
        ("job-retake/pod", "", None, 404),
    ],
)
def test_a_wrong_request_is_refused(path: str, query: str, document: Any, status: int) -> None:
    with taken() as (cloud, _):
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        assert _ask(cloud, path, query, document, **headers) == status


def test_a_request_without_the_key_is_refused() -> None:
    with taken() as (cloud, _):
        assert _ask(cloud, "ping/pod", "&runpod_version=1.12.0", Authorization="other") == 401
