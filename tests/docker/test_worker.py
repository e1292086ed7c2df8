"""An image as RunPod runs it: it takes jobs of the control plane, and is stopped in the middle."""

from __future__ import annotations

import base64
import contextlib
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from testcontainers.core.container import DockerContainer

from tests.containers import running
from tests.graphs import node, saving
from tests.runpod_cloud.control_plane import CloudJob, ControlPlane

# RunPod and `docker stop` kill what has not ended by then.
_KILLED_AFTER_S = 10
_STOPS_WITHIN_S = 5


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder that containers see at the same place, and may write to."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


@contextlib.contextmanager
def worker(
    image: str, cloud: ControlPlane, name: str, shared: Path, **variables: str
) -> Iterator[DockerContainer]:
    environment = {
        **cloud.variables(name),
        # This machine has no GPU, and may not reach the internet.
        "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
        "RUNPOD_SKIP_GPU_CHECK": "true",
        "OUTPUT_MODE": "base64",
        **variables,
    }
    with running(
        image,
        environment=environment,
        volumes={shared: str(shared)},
        volume_mode="rw",
        network_mode="host",
    ) as container:
        yield container


def sleeping(shared: Path) -> dict[str, Any]:
    """A graph with a node that runs until the file `wake` exists."""
    return {"1": node("FixtureSleep", begun=f"{shared}/begun", until=f"{shared}/wake")}


def wait_until_begun(shared: Path) -> None:
    ends = time.monotonic() + 60
    while not (shared / "begun").exists():
        assert time.monotonic() < ends
        time.sleep(0.01)


def stopped(container: DockerContainer) -> float:
    """The seconds that `docker stop` takes; infinite if the container did not end by itself."""
    began = time.monotonic()
    container.get_wrapped_container().stop(timeout=_KILLED_AFTER_S)
    seconds = time.monotonic() - began
    container.reload()
    code = container.get_wrapped_container().attrs["State"]["ExitCode"]
    return seconds if code == 0 else math.inf


def content(job: CloudJob) -> bytes:
    """What the one file of a job holds."""
    assert job.status == "COMPLETED", job
    (file,) = job.output["files"]
    return base64.b64decode(file["data"])


def in_time(seconds: Callable[[ControlPlane], float]) -> bool:
    """Whether a container that `seconds` starts is stopped soon enough."""
    # A busy machine may be late once; what takes longer by itself does so each time.
    for _ in range(3):
        with ControlPlane(silence_s=4).served() as cloud:
            if seconds(cloud) < _STOPS_WITHIN_S:
                return True
    return False


def test_jobs_are_taken_and_done(small_image: str, shared: Path) -> None:
    def seconds(cloud: ControlPlane) -> float:
        jobs = cloud.send_all({name: {"workflow": {"1": saving(name)}} for name in "abc"})
        with worker(small_image, cloud, "pod", shared) as container:
            assert [content(cloud.result_of(job)) for job in jobs] == [b"a", b"b", b"c"]
            failed = cloud.result_of(cloud.send("d", workflow="none"))
            assert (failed.status, failed.output["error_type"]) == ("FAILED", "invalid_input")
            return stopped(container)

    assert in_time(seconds)


@pytest.mark.parametrize("ignores", [{}, {"FIXTURE_IGNORES_TERM": "1"}], ids=["willing", "busy"])
def test_a_worker_that_is_stopped_during_a_job_hands_it_to_another_one(
    small_image: str, shared: Path, ignores: dict[str, str]
) -> None:
    def seconds(cloud: ControlPlane) -> float:
        for left in shared.iterdir():
            left.unlink()
        with worker(small_image, cloud, "pod", shared, **ignores) as container:
            job = cloud.send("a", workflow=sleeping(shared))
            wait_until_begun(shared)
            cloud.until(lambda: any(ping.jobs == {"a"} for ping in cloud.pings["pod"]))
            taken_s = stopped(container)
            ended = time.monotonic()
        assert (job.status, job.output, job.error, job.ignored) == ("IN_PROGRESS", None, None, 0)
        (shared / "wake").touch()
        with worker(small_image, cloud, "other", shared):
            assert cloud.result_of(job).output["text"][0]["text"] == "slept"
        assert job.deliveries == ["pod", "other"]
        # One may have been on its way.
        assert sum(ping.at > ended for ping in cloud.pings["pod"]) <= 1
        return taken_s

    assert in_time(seconds)
