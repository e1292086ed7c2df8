"""Our worker against RunPod's side of it: what its clients get, whatever happens to a job."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.graphs import node, saving
from tests.http_server import Answer, serve
from tests.loopback_canary import canary
from tests.program import start_python
from tests.runpod_cloud.control_plane import POLL_S, CloudJob, ControlPlane

# Each test starts a worker.
pytestmark = pytest.mark.slow

# The worker with another concurrency than 1, at which the SDK takes batches.
_WORKER = """
import sys, runpod.serverless as sdk
start = sdk.start

def start_batches(config):
    modifier = config["concurrency_modifier"]
    start({**config, "concurrency_modifier": lambda _: modifier(3)})

sdk.start = start_batches
from rp_handler.main import main
sys.exit(main())
"""


@pytest.fixture(autouse=True)
def _in_an_image(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFY_BAKED_HOME", str(home))
    monkeypatch.setenv("OUTPUT_MODE", "base64")
    for name in ("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS", "RUNPOD_SKIP_GPU_CHECK"):
        monkeypatch.setenv(name, "true")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cloud() -> Iterator[ControlPlane]:
    with ControlPlane(silence_s=4).served() as it:
        yield it


@contextlib.contextmanager
def worker(
    cloud: ControlPlane,
    name: str = "pod",
    *,
    in_batches: bool = False,
    variables: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """Its log is the file `<name>.log`."""
    program = ["-c", _WORKER] if in_batches else ["-m", "rp_handler.main"]
    with Path(f"{name}.log").open("w", encoding="utf-8") as log:
        process = start_python(
            *program,
            variables={**cloud.variables(name), **(variables or {})},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        sys.stdout.write(Path(f"{name}.log").read_text(encoding="utf-8"))
        with contextlib.suppress(ProcessLookupError):
            # With the process that pings.
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def log_of(name: str, event: str) -> list[dict[str, Any]]:
    """The lines of a worker's log about one kind of event."""
    return [line for line in log_lines(name) if line["event"] == event]


def log_lines(name: str) -> list[dict[str, Any]]:
    lines = Path(f"{name}.log").read_text(encoding="utf-8").splitlines()
    ours = [line for line in lines if line.startswith('{"ts"')]
    assert all(len(line) <= 4096 for line in ours)
    return [json.loads(line) for line in ours]


def content(job: CloudJob) -> str:
    """What the one file of a job holds."""
    assert job.status == "COMPLETED", job
    (file,) = job.output["files"]
    return base64.b64decode(file["data"]).decode()


def engine_of(process: subprocess.Popen[str]) -> int:
    """The process id of a worker's ComfyUI."""
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        for child in (task / "children").read_text(encoding="utf-8").split():
            if b"--disable-auto-launch" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    pytest.fail("the worker has no engine")


def kill_engine(process: subprocess.Popen[str]) -> None:
    """Kills a worker's ComfyUI; returns once the worker has noticed it."""
    engine = engine_of(process)
    os.kill(engine, signal.SIGKILL)
    # Only the worker takes a process that has ended out of the system's list.
    wait_until(lambda: not Path(f"/proc/{engine}").exists())


def send_text(cloud: ControlPlane, name: str) -> CloudJob:
    """A job whose output is a file with its own name in it."""
    return cloud.send(name, workflow={"1": saving(name)})


def begun(name: str) -> Path:
    """The file that says that the engine runs this job."""
    return Path(f"{name}.begun").absolute()


def sleeping(name: str) -> dict[str, Any]:
    """A graph that runs until it is interrupted or the file `wake` exists."""
    return {"1": node("FixtureSleep", begun=str(begun(name)), until=str(Path("wake").absolute()))}


def send_sleeping(cloud: ControlPlane, name: str, **document: Any) -> CloudJob:
    """A job that the engine runs, and does not end by itself."""
    job = cloud.send(name, workflow=sleeping(name), **document)
    wait_until_begun(name)
    return job


def wait_until_begun(name: str) -> None:
    ends = time.monotonic() + 60
    while not begun(name).exists():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_a_job_is_taken_and_done_once(cloud: ControlPlane) -> None:
    job = send_text(cloud, "a")
    with worker(cloud):
        assert content(cloud.result_of(job)) == "a"
        assert job.output["version"]["id"] == "demo"
        assert not job.stops_worker
        # A second result would be a breach.
        assert content(cloud.result_of(send_text(cloud, "b"))) == "b"
    assert job.deliveries == ["pod"]


def test_jobs_in_a_row_are_all_done_once_each_with_its_own_outputs(cloud: ControlPlane) -> None:
    jobs = [send_text(cloud, f"job-{number}") for number in range(12)]
    with worker(cloud):
        ended = []
        for job in jobs:
            assert content(cloud.result_of(job)) == job.id
            ended.append(time.monotonic())
    assert all(job.deliveries == ["pod"] for job in jobs)
    # By itself the SDK takes one job in a second, however fast the machine is.
    assert statistics.median(later - one for one, later in pairwise(ended)) < 0.9


def test_a_batch_is_done_one_by_one(cloud: ControlPlane) -> None:
    jobs = cloud.send_all({name: {"workflow": {"1": saving(name)}} for name in "abcdef"})
    with worker(cloud, in_batches=True):
        assert [content(cloud.result_of(job)) for job in jobs] == list("abcdef")
    assert 3 in cloud.batch_sizes


_RAISES = node("FixtureRaise", kind="ValueError", message="no")


_FAILING: tuple[tuple[Any, str, str], ...] = (
    ({"1": _RAISES}, "execution_error", "no"),
    ({"1": node("FixtureSave")}, "invalid_workflow", "content"),
    (3, "invalid_input", "workflow"),
    ("nothing of that name", "invalid_input", "nothing of that name"),
)


def test_a_job_that_fails_is_reported_and_leaves_the_next_alone(cloud: ControlPlane) -> None:
    with worker(cloud):
        for number, (workflow, kind, said) in enumerate(_FAILING):
            failing = cloud.result_of(cloud.send(f"failing-{number}", workflow=workflow))
            assert failing.status == "FAILED"
            assert said in (failing.error or "")
            assert failing.output["error_type"] == kind
            assert failing.output["retryable"] is False
            following = cloud.result_of(send_text(cloud, f"following-{number}"))
            assert content(following) == following.id


def test_a_job_that_is_stopped_makes_room_for_the_next(cloud: ControlPlane) -> None:
    with worker(cloud) as process:
        stopped = send_sleeping(cloud, "a")
        engine = engine_of(process)
        cloud.cancel(stopped)
        assert content(cloud.result_of(send_text(cloud, "b"))) == "b"
        assert engine_of(process) == engine
    assert stopped.ignored == 0


def test_a_job_that_is_stopped_before_it_has_arrived_never_runs() -> None:
    with ControlPlane(take_s=1).served() as cloud, worker(cloud):
        stopped = cloud.send("a", workflow=sleeping("a"))
        cloud.until(lambda: stopped.deliveries)
        cloud.cancel(stopped)
        assert content(cloud.result_of(send_text(cloud, "b"))) == "b"
    assert not begun("a").exists()
    assert stopped.ignored == 0


def test_a_job_that_is_stopped_while_it_waits_never_runs(cloud: ControlPlane) -> None:
    with worker(cloud, in_batches=True):
        first = send_sleeping(cloud, "a")
        waiting = cloud.send("b", workflow=sleeping("b"))
        last = send_text(cloud, "c")
        # The SDK starts a job a moment after it has taken it, and cannot stop it before.
        wait_until(lambda: '"requestId": "b", "message": "Started."' in Path("pod.log").read_text())
        cloud.until(lambda: last.deliveries)
        cloud.cancel(waiting)
        cloud.cancel(first)
        assert content(cloud.result_of(last)) == "c"
    assert not begun("b").exists()
    assert first.ignored == waiting.ignored == 0


def test_the_job_after_one_that_is_stopped_at_any_moment_is_right(cloud: ControlPlane) -> None:
    moments = random.Random(50)
    first = {"0": saving("stopped"), **counting(300)}
    jobs: list[CloudJob] = []

    def graph(number: int) -> dict[str, Any]:
        # However fast the machine is, only every third job ends by itself.
        last = saving("stopped too", prefix="y") if number % 3 == 0 else sleeping("never")["1"]
        return {**first, **counting(302 + number), "3": last}

    with worker(cloud) as process:
        cloud.result_of(cloud.send("first", workflow=first))
        engine, began = engine_of(process), time.monotonic()
        cloud.result_of(cloud.send("second", workflow={**first, **counting(301)}))
        whole_s = time.monotonic() - began
        for number in range(50):
            jobs.append(cloud.send(f"stopped-{number}", workflow=graph(number)))
            time.sleep(moments.uniform(0, 1.1 * whole_s))
            cloud.cancel(jobs[-1])
            following = cloud.result_of(send_text(cloud, f"following-{number}"))
            assert content(following) == following.id
            assert following.deliveries == ["pod"]
        assert engine_of(process) == engine
    stopped = [job for job in jobs if job.status == "CANCELLED"]
    assert len([job for job in stopped if job.deliveries]) >= 20
    assert all(job.ignored <= 1 for job in stopped)


def test_the_platform_hears_of_a_job_as_long_as_it_runs(cloud: ControlPlane) -> None:
    with worker(cloud):
        job = send_sleeping(cloud, "a")
        began = time.monotonic()
        cloud.until(lambda: sum(ping.at > began for ping in cloud.pings["pod"]) >= 4)
        # The first may have been on its way.
        _, *heard = [ping for ping in cloud.pings["pod"] if ping.at > began]
        assert all(ping.jobs == {"a"} for ping in heard)
        Path("wake").touch()
        cloud.result_of(job)
        cloud.until(lambda: not cloud.pings["pod"][-1].jobs)
    assert job.output["text"][0]["text"] == "slept"


def counting(steps: int) -> dict[str, Any]:
    return {
        "1": node("FixtureProgress", steps=steps, style="progress"),
        "2": node("FixtureProgress", steps=steps + 1, style="progress_state"),
    }


@pytest.mark.parametrize("platform_s", [0.2, 3.0])
def test_progress_is_reported_in_order_merged_and_before_the_result(platform_s: float) -> None:
    with ControlPlane(progress_s=platform_s).served() as cloud, worker(cloud):
        # Progress after a result would be a breach.
        began = time.monotonic()
        job = cloud.result_of(cloud.send("a", workflow=counting(2000), events=["progress"]))
        seconds = time.monotonic() - began
        assert job.status == "COMPLETED"
        seen = [(one["node"], one["step"] or 0) for one in job.progress]
        assert seen == sorted(set(seen))
        # One in 0.3 seconds, and the last.
        assert 2 <= len(seen) <= 2 + seconds / 0.3
        assert job.progress[-1] == {
            "node": "2",
            "class_type": "FixtureProgress",
            "title": "",
            "done": 1,
            "total": 2,
            "step": 2001,
            "steps": 2001,
        }


def test_progress_is_not_sent_unless_a_job_asks_for_it(cloud: ControlPlane) -> None:
    with worker(cloud):
        job = cloud.result_of(cloud.send("a", workflow=counting(20)))
    assert job.status == "COMPLETED"
    assert job.progress == []


@pytest.mark.parametrize("state", ["willing", "busy", "stopped"])
def test_a_worker_that_is_to_end_hands_its_job_back_within_five_seconds(state: str) -> None:
    ignores = {"FIXTURE_IGNORES_TERM": "1", "FIXTURE_IGNORES_INTERRUPT": "1"}

    def seconds(name: str) -> float:
        with ControlPlane(silence_s=4).served() as cloud:
            with worker(cloud, variables=ignores if state == "busy" else {}) as process:
                job = send_sleeping(cloud, name)
                if state == "stopped":
                    os.kill(engine_of(process), signal.SIGSTOP)
                began = time.monotonic()
                process.send_signal(signal.SIGTERM)
                assert process.wait(30) == 0
                ended = time.monotonic()
            assert list(Path(tempfile.gettempdir()).iterdir()) == []
            assert (job.status, job.progress, job.ignored) == ("IN_PROGRESS", [], 0)
            Path("wake").touch()
            with worker(cloud, "other"):
                assert cloud.result_of(job).output["text"][0]["text"] == "slept"
            Path("wake").unlink()
            assert job.deliveries == ["pod", "other"]
            # One may have been on its way.
            assert sum(ping.at > ended for ping in cloud.pings["pod"]) <= 1
        return ended - began

    # A busy machine may be late once; what takes longer by itself does so each time.
    assert any(seconds(name) < 5 for name in "abc")


def test_a_worker_that_is_killed_no_longer_says_that_its_job_runs(cloud: ControlPlane) -> None:
    with worker(cloud) as process:
        job = send_sleeping(cloud, "a")
        process.kill()
        process.wait()
        Path("wake").touch()
        with worker(cloud, "other"):
            assert cloud.result_of(job).output["text"][0]["text"] == "slept"
    assert job.deliveries == ["pod", "other"]


def test_a_job_whose_engine_is_killed_may_be_tried_again_and_the_next_succeeds(
    cloud: ControlPlane,
) -> None:
    with worker(cloud) as process:
        job = send_sleeping(cloud, "a")
        os.kill(engine_of(process), signal.SIGKILL)
        assert cloud.result_of(job).status == "FAILED"
        assert "killed by signal 9" in (job.error or "")
        assert job.output["error_type"] == "engine_crashed"
        assert job.output["retryable"] is True
        assert content(cloud.result_of(send_text(cloud, "b"))) == "b"


def test_a_job_that_runs_out_of_memory_is_tried_once_more(cloud: ControlPlane) -> None:
    with worker(cloud):
        hungry = {"1": node("FixtureHungry", frees=1)}
        eaten = cloud.result_of(cloud.send("a", workflow=hungry))
        assert eaten.output["text"][0]["text"] == "eaten"
        assert "out of memory" in eaten.output["warnings"][0]
        failed = cloud.result_of(cloud.send("b", workflow={"1": node("FixtureHungry", frees=9)}))
        assert failed.output["error_type"] == "out_of_memory"
        assert "hungry after 2" in failed.output["details"]["log"]
        assert content(cloud.result_of(send_text(cloud, "c"))) == "c"


def test_a_job_whose_socket_breaks_succeeds(cloud: ControlPlane) -> None:
    with worker(cloud):
        for name, deaf in (("a", False), ("b", True)):
            workflow = {"1": node("FixtureDropSocket", deaf=deaf), "2": saving(name)}
            assert content(cloud.result_of(cloud.send(name, workflow=workflow))) == name


def test_an_engine_that_hangs_fails_a_job_at_its_timeout_and_is_replaced(
    cloud: ControlPlane,
) -> None:
    with worker(cloud) as process:
        job = send_sleeping(cloud, "a", timeout=3)
        engine = engine_of(process)
        os.kill(engine, signal.SIGSTOP)
        failure = cloud.result_of(job).output
        assert failure["error_type"] == "timeout"
        assert "POST /prompt" in failure["details"]["log"][-1]
        assert content(cloud.result_of(send_text(cloud, "b"))) == "b"
        assert engine_of(process) != engine


def test_an_engine_that_hangs_is_replaced_after_its_job_was_stopped(cloud: ControlPlane) -> None:
    with worker(cloud) as process:
        job = send_sleeping(cloud, "a")
        engine = engine_of(process)
        os.kill(engine, signal.SIGSTOP)
        cloud.cancel(job)
        assert content(cloud.result_of(send_text(cloud, "b"))) == "b"
        assert engine_of(process) != engine
    assert job.ignored == 0


def test_a_worker_that_is_to_end_takes_no_more_jobs(cloud: ControlPlane) -> None:
    variables = {"FIXTURE_IGNORES_TERM": "1", "COMFY_LOG_ENGINE": "1"}
    with worker(cloud, variables=variables) as process:
        cloud.result_of(send_text(cloud, "a"))
        process.send_signal(signal.SIGTERM)
        wait_until(
            lambda: any(it["message"] == "asked to end" for it in log_of("pod", "engine_log"))
        )
        # The control plane does not notice that a request which it holds was cancelled.
        time.sleep(1.2 * POLL_S)
        assert process.poll() is None
        late = send_text(cloud, "b")
        assert process.wait(30) == 0
    assert late.deliveries == []


def test_an_engine_that_does_not_start_takes_no_job(cloud: ControlPlane) -> None:
    job = send_text(cloud, "a")
    with worker(cloud, variables={"FIXTURE_DIE_AT_START": "no such library"}) as process:
        assert process.wait(60) == 3
    assert "no such library" in Path("pod.log").read_text(encoding="utf-8")
    assert job.deliveries == []


_READ = {"1": node("FixtureRead", file="faces/a.txt")}


def text(job: CloudJob) -> str:
    assert job.status == "COMPLETED", job
    (shown,) = job.output["text"]
    return str(shown["text"])


def test_each_job_has_its_own_files_and_leaves_none(cloud: ControlPlane, home: Path) -> None:
    def send(name: str, sent: str) -> CloudJob:
        image = base64.b64encode(sent.encode()).decode()
        files = [{"name": "faces/a.txt", "image": image}]
        return cloud.send(name, workflow=_READ, images=files, files=None)

    with worker(cloud) as process:
        assert text(cloud.result_of(send("a", "one"))) == "one"
        assert text(cloud.result_of(send("b", "two"))) == "two"
        broken = cloud.result_of(cloud.send("c", workflow=_READ, images=[{"name": "/x"}]))
        assert broken.output["error_type"] == "invalid_input"
        assert "'images[0].name'" in str(broken.error)
        assert "'images[0].image' is missing" in str(broken.error)
        without = cloud.result_of(cloud.send("d", workflow=_READ))
        assert without.status == "FAILED"
        assert text(cloud.result_of(send("e", "one"))) == "one"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert list((home / "input").iterdir()) == []
    assert list(Path(tempfile.gettempdir()).iterdir()) == []


def test_no_job_reads_from_the_workers_own_network(cloud: ControlPlane) -> None:
    with canary() as bird, serve(answering=lambda _: Answer(body=b"of a neighbour")) as url:
        files = [{"name": "faces/a.txt", "url": url}]
        private = [{"name": f"{n}", "url": it} for n, it in enumerate(bird.urls())]
        with worker(cloud):
            refused = cloud.result_of(cloud.send("a", workflow=_READ, files=private))
            assert refused.output["error_type"] == "invalid_input"
            assert "files[3].url" in str(refused.error)
        with worker(cloud, "other", variables={"COMFY_INPUT_PRIVATE_ADDRESSES": "1"}):
            allowed = cloud.result_of(cloud.send("b", workflow=_READ, files=files))
            assert text(allowed) == "of a neighbour"
    assert bird.heard == []


def test_a_worker_with_an_unusable_limit_does_not_start(cloud: ControlPlane) -> None:
    with worker(cloud, variables={"COMFY_INPUT_FILE_MB": "much"}) as process:
        assert process.wait(60) == 2
    (line,) = log_of("pod", "failed")
    assert line["message"].startswith('COMFY_INPUT_FILE_MB is "much"')
    assert (line["level"], line["exit_code"]) == ("error", 2)


def test_the_log_has_one_json_line_for_each_event_and_no_secret(
    cloud: ControlPlane, home: Path
) -> None:
    secrets = {"HF_TOKEN": "a secret of the pod", "COMFY_LOG_ENGINE": "1"}
    with worker(cloud, variables=secrets) as process:
        cloud.result_of(cloud.send("a", workflow={"1": saving("abc"), "2": saving("de")}))
        raises = node("FixtureRaise", kind="ValueError", message="a secret of the pod, my own key")
        key = "my own key"
        failed = cloud.result_of(cloud.send("b", workflow={"1": raises}, comfy_org_api_key=key))
        stopped = send_sleeping(cloud, "c")
        cloud.cancel(stopped)
        slow = {"1": node("FixtureHungry", frees=1), "2": saving("x")}
        cloud.result_of(cloud.send("d", workflow=slow))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert failed.output["details"]["message"] == "***, ***"
    assert "secret of the pod" not in Path("pod.log").read_text(encoding="utf-8")
    assert key not in Path("pod.log").read_text(encoding="utf-8")
    lines = log_lines("pod")
    assert {line["version"] for line in lines} == {"demo"}
    assert {line["lock"] for line in lines} == {"sha256:" + "0" * 64}
    (ready,) = log_of("pod", "ready")
    stages = ready["boot_ms"]
    assert list(stages) == ["container", "handler", "models", "engine", "outputs", "total"]
    assert stages["total"] == sum(stages.values()) - stages["total"] > 0
    others = ("message", "engine_log")
    about = {
        job: [it["event"] for it in lines if it["job"] == job and it["event"] not in others]
        for job in "abcd"
    }
    assert about["a"] == ["job_started", "job_finished"]
    assert about["b"] == ["job_started", "job_failed"]
    assert about["c"] == ["job_started", "job_cancelled"]
    assert about["d"] == ["job_started", "out_of_memory_retry", "job_finished"]
    done = log_of("pod", "job_finished")[0]
    assert set(done["nodes"]) == {"1", "2"}
    assert (done["files"], done["bytes"]) == (2, 5)
    assert done["total_ms"] >= done["run_ms"] >= 0
    (fault,) = log_of("pod", "job_failed")
    assert (fault["level"], fault["error_type"]) == ("error", "execution_error")
    engine = log_of("pod", "engine_log")
    assert "Starting server" in [line["message"] for line in engine if line["job"] is None]
    assert "hungry after 0" in [line["message"] for line in engine if line["job"] == "d"]


def test_with_strict_isolation_a_repeated_job_runs_from_nothing(cloud: ControlPlane) -> None:
    both = {"1": saving("one"), "2": saving("two")}
    with worker(cloud, variables={"COMFY_JOB_ISOLATION": "strict"}) as process:
        first = cloud.result_of(cloud.send("a", workflow=both))
        engine = engine_of(process)
        fails = {**both, "3": node("FixtureRaise", kind="ValueError", message="no")}
        cloud.result_of(cloud.send("b", workflow=fails))
        cloud.cancel(send_sleeping(cloud, "c"))
        jobs = cloud.send_all({name: {"workflow": both} for name in "de"})
        for job in jobs:
            cloud.result_of(job)
            assert job.output["timings"]["nodes"].keys() == {"1", "2"}
            assert job.output["files"] == first.output["files"]
        assert engine_of(process) == engine
        # It also frees when no other job comes.
        folder = Path(tempfile.gettempdir())
        assert list(folder.glob("comfy-engine-*"))
        wait_until(lambda: not list(folder.glob("comfy-engine-*/kept-*/*")))
    assert first.output["timings"]["nodes"].keys() == {"1", "2"}


def test_memory_is_freed_once_when_no_job_comes_and_the_next_job_is_right(
    cloud: ControlPlane,
) -> None:
    hungry = {"1": node("FixtureHungry", frees=1), "2": saving("x")}
    both = {"1": saving("one"), "2": saving("two")}
    with worker(cloud, variables={"COMFY_IDLE_FREE_S": "0.5"}) as process:
        first = cloud.result_of(cloud.send("a", workflow=both))
        wait_until(lambda: log_of("pod", "memory_freed"))
        time.sleep(1)
        assert len(log_of("pod", "memory_freed")) == 1
        again = cloud.result_of(cloud.send("b", workflow=both))
        assert again.output["files"] == first.output["files"]
        assert again.output["timings"]["nodes"].keys() == {"1", "2"}
        # Models were unloaded.
        eaten = cloud.result_of(cloud.send("c", workflow=hungry))
        assert eaten.output["warnings"] == []
        wait_until(lambda: len(log_of("pod", "memory_freed")) == 2)
        kill_engine(process)
        time.sleep(1)
        assert content(cloud.result_of(send_text(cloud, "d"))) == "d"


def wait_until(holds: Callable[[], object]) -> None:
    ends = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_a_worker_whose_engine_does_not_start_again_asks_to_be_replaced(
    cloud: ControlPlane, home: Path
) -> None:
    main = home / "ComfyUI/main.py"
    with worker(cloud) as process:
        assert not cloud.result_of(send_text(cloud, "a")).stops_worker
        main.rename(home / "away.py")
        kill_engine(process)
        lost = cloud.result_of(send_text(cloud, "b"))
        assert (lost.output["error_type"], lost.output["retryable"]) == ("engine_crashed", True)
        # The platform may take a moment, or may not do it.
        (home / "away.py").rename(main)
        saved = cloud.result_of(send_text(cloud, "c"))
    assert lost.stops_worker
    assert "refresh_worker" not in lost.output
    assert len(log_of("pod", "worker_lost")) == 1
    assert content(saved) == "c"
    assert not saved.stops_worker


def test_a_worker_whose_engine_ends_again_and_again_asks_to_be_replaced(
    cloud: ControlPlane,
) -> None:
    ends = {"workflow": {"1": node("FixtureExit", status=3)}}
    faulty = node("FixtureRaise", kind="RuntimeError", message="CUDA error: unspecified failure")
    fine = {"workflow": {"1": saving("x")}}
    # Neither says anything of ComfyUI.
    wrong, listed = {"workflow": 3}, {"list": "workflows"}
    documents = [ends, ends, fine, ends, wrong, listed, {"workflow": {"1": faulty}}, ends]
    with worker(cloud):
        jobs = cloud.send_all({str(at): document for at, document in enumerate(documents)})
        stops = [cloud.result_of(job).stops_worker for job in jobs]
    assert stops == [False] * 7 + [True]
