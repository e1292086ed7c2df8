from __future__ import annotations

import asyncio
import base64
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from comfy_errors import ComfyError
from comfy_workflows.graph import Graph, parse_workflow
from rp_handler.engine.prompt import Listener
from rp_handler.engine.supervisor import ResidentEngine
from rp_handler.errors import EngineCrashedError, JobTimeoutError
from rp_handler.home.realized import Home, open_home
from rp_handler.job.run import run_graph
from rp_handler.outputs.inline import Base64Sink
from tests.graphs import node, saving


@pytest.fixture
def opened(home: Path) -> Home:
    return open_home(home, version_id="demo", id_was_asked=False)


def quiet(said: list[str] | None = None) -> Listener:
    return Listener(say=(said if said is not None else []).append, progress=lambda _: None)


def graph(**nodes: Any) -> Graph:
    return parse_workflow(nodes, place="g")


async def made(engine: ResidentEngine, of: Graph) -> dict[str, tuple[str, str]]:
    """Node → the name and the content of the file it made."""
    document = await run_graph(engine, of, Base64Sink(), timeout_s=None)
    assert document["warnings"] == []
    return {
        one["node"]: (one["filename"], base64.b64decode(one["data"]).decode())
        for one in document["files"]
    }


def test_one_engine_serves_many_jobs_each_with_outputs_of_its_own(opened: Home) -> None:
    async def scenario() -> None:
        async with ResidentEngine(opened, quiet()) as engine:
            pid = engine.engine.pid
            for content in ("one", "two"):
                expected = {"1": ("x_00001.txt", content)}
                assert await made(engine, graph(**{"1": saving(content)})) == expected
            assert engine.engine.pid == pid

    asyncio.run(scenario())


def test_what_the_engine_remembers_is_delivered_as_well(opened: Home) -> None:
    """It answers with names of an earlier job, which a new file may bear by now."""

    async def scenario() -> None:
        async with ResidentEngine(opened, quiet()) as engine:
            both = graph(**{"1": saving("one"), "2": saving("two")})
            first = await made(engine, both)
            assert first == {"1": ("x_00001.txt", "one"), "2": ("x_00002.txt", "two")}
            assert await made(engine, both) == first
            changed = graph(**{"1": saving("one"), "2": saving("changed")})
            expected = {"1": ("x_00001.txt", "one"), "2": ("x_00002.txt", "changed")}
            assert await made(engine, changed) == expected

    asyncio.run(scenario())


def test_an_engine_that_died_in_a_job_is_started_again_for_the_next(opened: Home) -> None:
    async def scenario() -> None:
        async with ResidentEngine(opened, quiet()) as engine:
            fall = graph(**{"1": node("FixtureExit", status=1)})
            with pytest.raises(EngineCrashedError):
                await engine.run(fall, timeout_s=None, strict=False)
            assert (await made(engine, graph(**{"1": saving("one")})))["1"][1] == "one"

    asyncio.run(scenario())


def test_an_engine_that_died_between_two_jobs_is_started_again(opened: Home) -> None:
    async def scenario() -> None:
        async with ResidentEngine(opened, quiet()) as engine:
            first = engine.engine
            os.kill(first.pid, signal.SIGKILL)
            await first.ended
            assert (await made(engine, graph(**{"1": saving("one")})))["1"][1] == "one"
            assert engine.engine is not first

    asyncio.run(scenario())


@pytest.mark.parametrize("listens", [True, False])
def test_a_job_that_was_given_up_does_not_run_into_the_next(
    opened: Home, monkeypatch: pytest.MonkeyPatch, listens: bool
) -> None:
    monkeypatch.setattr("rp_handler.engine.supervisor._SETTLE_S", 2)
    if not listens:
        monkeypatch.setenv("FIXTURE_IGNORES_INTERRUPT", "1")
    said: list[str] = []

    async def scenario() -> bool:
        async with ResidentEngine(opened, quiet(said)) as engine:
            first = engine.engine
            sleep = graph(**{"1": node("FixtureSleep")})
            with pytest.raises(JobTimeoutError):
                await engine.run(sleep, timeout_s=1, strict=False)
            assert (await made(engine, graph(**{"1": saving("one")})))["1"][1] == "one"
            return engine.engine is first

    assert asyncio.run(scenario()) is listens
    assert any("restarting" in sentence for sentence in said) is not listens


def test_an_engine_that_cannot_be_started_is_reported(
    opened: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FIXTURE_DIE_AT_START", "no such library")

    async def scenario() -> None:
        async with ResidentEngine(opened, quiet()):
            pass

    with pytest.raises(ComfyError, match="no such library"):
        asyncio.run(scenario())
