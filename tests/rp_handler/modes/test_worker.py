"""Jobs over RunPod's own SDK, from the process's start to its end."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import queue
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from rp_handler.engine.process import free_port
from tests.graphs import SAVE, SLEEP, node, write_graph
from tests.http_server import Answer, Request, serve
from tests.program import start_python, wait_for

# Each test makes an environment or a home, or starts a worker.
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _in_an_image(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFY_BAKED_HOME", str(home))
    monkeypatch.setenv("OUTPUT_MODE", "base64")
    for name in ("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS", "RUNPOD_SKIP_GPU_CHECK"):
        monkeypatch.setenv(name, "true")
    (tmp_path / "workflows").mkdir()
    write_graph(tmp_path / "workflows/example.json", SAVE)
    monkeypatch.chdir(tmp_path)


@contextlib.contextmanager
def worker(*arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    process = start_python(
        "-m", "rp_handler.main", *arguments, variables=variables, stderr=subprocess.STDOUT
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def serving(**variables: str) -> Iterator[tuple[subprocess.Popen[str], Callable[[Any], Any]]]:
    """A worker behind the SDK's local API, and what posts an input to it and returns the answer."""
    port = free_port()

    def post(document: Any) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/runsync",
            data=json.dumps({"input": document}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as response:
            return json.load(response)

    arguments = ("--rp_serve_api", "--rp_api_host", "127.0.0.1", "--rp_api_port", str(port))
    with worker(*arguments, **variables) as process:
        yield process, post


def test_a_test_input_is_run_and_ends_the_process() -> None:
    job = json.dumps({"input": {"workflow": "example"}})
    with worker("--test_input", job) as process:
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert base64.b64encode(b"hello").decode() in said
    assert list(Path(tempfile.gettempdir()).iterdir()) == []


def test_a_test_input_that_fails_tells_why_and_fails_the_process() -> None:
    job = json.dumps({"input": {"workflow": "example", "timeout": 0}})
    with worker("--test_input", job) as process:
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "'timeout' must be more than 0" in said


def test_without_the_sdk_one_sentence_says_how_to_get_it() -> None:
    program = (
        "import sys; sys.modules['runpod'] = None; sys.argv[1:] = ['--test_input', '{}']; "
        "from rp_handler.main import main; sys.exit(main())"
    )
    process = start_python("-c", program, stderr=subprocess.STDOUT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 3, said
    assert "pip install 'runpod-comfy[worker]'" in said
    assert "Traceback" not in said


def test_the_sdks_own_server_answers_jobs_and_ends_in_time() -> None:
    with serving() as (it, post):
        wait_for(it.stdout, "Uvicorn running")
        for _ in range(2):
            answer = post({"workflow": SAVE})
            assert answer["status"] == "COMPLETED"
            (file,) = answer["output"]["files"]
            assert file["filename"] == "x_00001.txt"
            assert base64.b64decode(file["data"]) == b"hello"
        assert post({"workflow": {"1": {}}})["status"] == "FAILED"
        assert post({"workflow": {}})["output"]["counts"]["nodes"] > 10
        it.send_signal(signal.SIGTERM)
        said, _ = it.communicate(timeout=30)
        assert it.returncode == 0
    # Results are no matter for a log: RunPod cuts its lines, and pictures are long.
    assert base64.b64encode(b"hello").decode() not in said
    assert list(Path(tempfile.gettempdir()).iterdir()) == []


def test_a_worker_warms_up_lists_what_it_has_and_posts_results_to_a_webhook() -> None:
    heard: queue.SimpleQueue[Request] = queue.SimpleQueue()

    def answer(request: Request) -> Answer:
        heard.put(request)
        return Answer()

    with (
        serve(answering=answer) as url,
        serving(COMFY_WARMUP_WORKFLOW="example", COMFY_WEBHOOK_URL=url) as (process, post),
    ):
        wait_for(process.stdout, "The warm-up took")
        wait_for(process.stdout, "Uvicorn running")
        assert post({"list": "workflows"})["output"] == {"workflows": ["example"]}
        assert json.loads(heard.get(timeout=30).body)["type"] == "job.completed"
        result = post({"workflow": "example"})["output"]
        (file,) = result["files"]
        assert base64.b64decode(file["data"]) == b"hello"
        assert json.loads(heard.get(timeout=30).body)["data"]["output"] == result
        assert post({"list": "all"})["status"] == "FAILED"
        assert json.loads(heard.get(timeout=30).body)["type"] == "job.failed"


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("COMFY_WARMUP_WORKFLOW", "none", 'There is no workflow "none" in the image.'),
        ("COMFY_WARMUP_WORKFLOW", "https://example.org/x.json", "without a sha256 of its file"),
        ("COMFY_WEBHOOK_URL", "example.org", 'COMFY_WEBHOOK_URL is "example.org".'),
        ("COMFY_WEBHOOK_SECRET", "x", "COMFY_WEBHOOK_SECRET is not the secret of a webhook."),
    ],
)
def test_a_variable_that_cannot_be_used_ends_the_worker_before_its_engine_starts(
    variable: str, value: str, message: str
) -> None:
    with worker("--rp_serve_api", **{variable: value}) as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 2, said
    assert message in said
    assert "Starting ComfyUI" not in said


class Platform:
    """RunPod's side of a worker: offers jobs, takes results, stops jobs.

    The paths and answers are those that the SDK's own tests and rp_job.py expect.
    """

    def __init__(self, jobs: list[dict[str, Any]]) -> None:
        self.jobs = jobs
        self.results: dict[str, Any] = {}
        self.stops: list[str] = []
        self.changed = asyncio.Event()

    async def take(self, _: web.Request) -> web.Response:
        if not self.jobs:
            await asyncio.sleep(0.2)
            return web.Response(status=204)
        return web.json_response(self.jobs.pop(0))

    async def done(self, request: web.Request) -> web.Response:
        self.results[request.match_info["job"]] = json.loads(await request.text())
        self.changed.set()
        return web.Response()

    async def stop(self, _: web.Request) -> web.Response:
        stops, self.stops = self.stops, []
        return web.json_response({"jobsToStop": stops})

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[dict[str, str]]:
        app = web.Application()
        app.add_routes(
            [
                web.get("/job-take/{worker}", self.take),
                web.get("/job-stop/{worker}", self.stop),
                web.post("/job-done/{worker}/{job}", self.done),
            ]
        )
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        root = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield {
                "RUNPOD_WEBHOOK_GET_JOB": f"{root}/job-take/$ID?gpu=none",
                "RUNPOD_WEBHOOK_POST_OUTPUT": f"{root}/job-done/$RUNPOD_POD_ID/$ID?gpu=none",
                "RUNPOD_POD_ID": "pod",
            }
        finally:
            await runner.cleanup()

    async def result_of(self, job: str) -> Any:
        async with asyncio.timeout(60):
            while job not in self.results:
                self.changed.clear()
                await self.changed.wait()
        return self.results[job]


def job(name: str, **document: Any) -> dict[str, Any]:
    return {"id": name, "input": document}


def test_jobs_of_the_platform_are_answered_also_after_the_engine_died() -> None:
    die = {"1": node("FixtureExit", status=3)}
    platform = Platform([job("a", workflow=SAVE), job("b", workflow=die), job("c", workflow=SAVE)])

    async def scenario() -> None:
        async with platform.served() as variables:
            with worker(**variables) as process:
                first = await platform.result_of("a")
                assert first["output"]["version"]["id"] == "demo"
                failed = await platform.result_of("b")
                assert isinstance(failed["error"], str)
                assert failed["output"]["error_type"] == "engine_crashed"
                assert failed["output"]["retryable"] is True
                last = await platform.result_of("c")
                assert last["output"]["files"] == first["output"]["files"]
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait, 30) == 0

    asyncio.run(scenario())


def test_a_job_that_the_platform_stops_makes_room_for_the_next() -> None:
    platform = Platform([job("a", workflow=SLEEP)])

    async def scenario() -> None:
        async with platform.served() as variables:
            with worker(**variables) as process:
                await asyncio.to_thread(wait_for, process.stdout, "Started.")
                platform.jobs.append(job("b", workflow=SAVE))
                platform.stops.append("a")
                assert (await platform.result_of("b"))["output"]["files"]
                assert "a" not in platform.results
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait, 30) == 0

    asyncio.run(scenario())


def test_the_request_to_end_is_followed_within_five_seconds_in_a_job() -> None:
    platform = Platform([job("a", workflow=SLEEP)])

    async def scenario() -> None:
        async with platform.served() as variables:
            with worker(**variables, FIXTURE_IGNORES_TERM="1") as process:
                await asyncio.to_thread(wait_for, process.stdout, "Started.")
                await asyncio.sleep(0.5)
                began = time.monotonic()
                process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(process.wait, 30) == 0
                assert time.monotonic() - began < 5

    asyncio.run(scenario())
    assert list(Path(tempfile.gettempdir()).iterdir()) == []


def test_an_engine_that_does_not_start_takes_no_job() -> None:
    platform = Platform([job("a", workflow=SAVE)])

    async def scenario() -> None:
        async with platform.served() as variables:
            with worker(**variables, FIXTURE_DIE_AT_START="no such library") as process:
                said, _ = await asyncio.to_thread(process.communicate, None, 60)
                assert process.returncode == 3
                assert "no such library" in said
                assert platform.jobs

    asyncio.run(scenario())
