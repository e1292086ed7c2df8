"""One job on the fixture core: its limits, its sink, its messages."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import pytest

from comfy_home.layout import OBJECT_INFO_NAME
from comfy_workflows.graph import parse_workflow
from comfy_workflows.preflight import MissingNodesError
from rp_handler.engine.prompt import Listener, Progress
from rp_handler.engine.supervisor import ResidentEngine
from rp_handler.errors import JobError, JobTimeoutError
from rp_handler.home.realized import Home, open_home
from rp_handler.job.job import Job
from rp_handler.job.run import run_job
from rp_handler.outputs.sink import OutputSink
from tests.graphs import SAVE, SLEEP, node

FAIL = {"1": node("FixtureRaise", kind="ValueError", message="no")}


@pytest.fixture
def opened(home: Path) -> Home:
    return open_home(home, version_id="demo", id_was_asked=False)


class NotedSink(OutputSink):
    """Notes its calls; a call named `slow` takes long."""

    def __init__(self, slow: str = "") -> None:
        self.calls: list[str] = []
        self.results: list[dict[str, Any]] = []
        self._slow = slow

    async def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self._slow:
            await asyncio.sleep(60)

    async def put(self, path: Path, place: PurePath) -> dict[str, Any]:  # noqa: ARG002
        await self._call("put")
        return {"type": "noted"}

    async def finish(self, result: Mapping[str, Any]) -> None:
        self.results.append(dict(result))
        await self._call("finish")

    async def abandon(self) -> None:
        await self._call("abandon")


def job_of(graph: object, sink: OutputSink, **options: Any) -> Job:
    listener = options.pop("listener", Listener(say=lambda _: None, progress=lambda _: None))
    parsed = parse_workflow(graph, place="g")
    return Job(id="j", graph=parsed, place="g", sink=sink, listener=listener, **options)


def run(home: Home, *jobs: Job) -> list[Any]:
    """The results of jobs that run one after the other on one engine, or their errors."""

    async def scenario() -> list[Any]:
        said = Listener(say=lambda _: None, progress=lambda _: None)
        async with ResidentEngine(home, said) as engine:
            return [
                (await asyncio.gather(run_job(job, engine), return_exceptions=True))[0]
                for job in jobs
            ]

    return asyncio.run(asyncio.wait_for(scenario(), 60))


def test_every_job_ends_its_sink_and_the_result_has_its_warnings(opened: Home) -> None:
    sink = NotedSink()
    (result,) = run(opened, job_of(SAVE, sink, warnings=["old models"]))
    assert sink.calls == ["put", "finish", "abandon"]
    assert sink.results == [result]
    assert result["warnings"] == ["old models"]


def test_a_job_that_fails_is_abandoned(opened: Home) -> None:
    sink = NotedSink()
    (error,) = run(opened, job_of(FAIL, sink))
    assert isinstance(error, JobError)
    assert sink.calls == ["abandon"]


def test_a_cancelled_job_is_abandoned(opened: Home) -> None:
    sink = NotedSink()

    async def scenario() -> None:
        said = Listener(say=lambda _: None, progress=lambda _: None)
        async with ResidentEngine(opened, said) as engine:
            began = asyncio.Event()
            listener = Listener(say=lambda _: None, progress=lambda _: began.set())
            work = asyncio.create_task(run_job(job_of(SLEEP, sink, listener=listener), engine))
            await began.wait()
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work

    asyncio.run(scenario())
    assert sink.calls == ["abandon"]


@pytest.mark.parametrize("slow", ["put", "finish"])
def test_the_time_limit_includes_the_delivery(opened: Home, slow: str) -> None:
    sink = NotedSink(slow)
    (error,) = run(opened, job_of(SAVE, sink, timeout_s=2))
    assert isinstance(error, JobTimeoutError)
    assert "within 2 seconds" in error.message
    assert sink.calls[-1] == "abandon"


def test_a_job_that_takes_too_long_names_its_node_and_the_next_one_runs(opened: Home) -> None:
    sink = NotedSink()
    error, result = run(opened, job_of(SLEEP, sink, timeout_s=3), job_of(SAVE, NotedSink()))
    assert isinstance(error, JobTimeoutError)
    assert error.message == "The job did not finish within 3 seconds, at node 1."
    assert result["files"]


def test_progress_goes_to_the_job_it_belongs_to(opened: Home) -> None:
    told: dict[str, list[Progress]] = {"a": [], "b": []}

    def listener(name: str) -> Listener:
        return Listener(say=lambda _: None, progress=told[name].append)

    other = {"7": node("FixtureProgress", steps=1, style="progress")}
    run(
        opened,
        job_of(SAVE, NotedSink(), listener=listener("a")),
        job_of(other, NotedSink(), listener=listener("b")),
    )
    assert {one.node for one in told["a"]} == {"1"}
    assert {one.node for one in told["b"]} == {"7"}


def test_the_record_of_node_classes_is_read_once_and_outside_the_event_loop(
    opened: Home, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / OBJECT_INFO_NAME).write_text("{}")
    reads: list[bool] = []
    turned = threading.Event()
    real = json.loads

    def until_the_loop_has_turned(content: Any, **options: Any) -> Any:
        if content == b"{}":
            turned.clear()
            reads.append(turned.wait(30))
        return real(content, **options)

    monkeypatch.setattr("comfy_files.json_file.json.loads", until_the_loop_has_turned)

    async def scenario() -> None:
        engine = ResidentEngine(opened, Listener(say=lambda _: None, progress=lambda _: None))

        async def turn() -> None:
            while True:
                await asyncio.sleep(0.01)
                turned.set()

        turning = asyncio.create_task(turn())
        for _ in range(2):
            with pytest.raises(MissingNodesError):
                await run_job(job_of(SAVE, NotedSink()), engine)
        turning.cancel()

    asyncio.run(scenario())
    assert reads == [True]
