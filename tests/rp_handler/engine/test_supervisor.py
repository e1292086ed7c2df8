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
from rp_handler.engine.client import EngineClient
from rp_handler.engine.prompt import Listener, Progress
from rp_handler.engine.supervisor import ResidentEngine
from rp_handler.errors import EngineCrashedError, JobError, OutOfMemoryError
from rp_handler.home.realized import Home, open_home
from rp_handler.job.job import Job
from rp_handler.job.run import run_job
from rp_handler.outputs.inline import Base64Sink
from tests.graphs import node, saving


@pytest.fixture
def opened(home: Path) -> Home:
    return open_home(home, version_id="demo", id_was_asked=False)


def quiet(said: list[str] | None = None) -> Listener:
    return Listener(say=(said if said is not None else []).append, progress=lambda _: None)


def graph(**nodes: Any) -> Graph:
    return parse_workflow(nodes, place="g")


def job_of(graph: Graph, **options: Any) -> Job:
    return Job(
        **{
            "id": "j",
            "graph": graph,
            "place": "g",
            "sink": Base64Sink(),
            "listener": quiet(),
            **options,
        }
    )


async def made(engine: ResidentEngine, of: Graph) -> dict[str, tuple[str, str]]:
    """Node → the name and the content of the file it made."""
    document = await run_job(job_of(of), engine)
    assert document["warnings"] == []
    return {
        one["node"]: (one["filename"], base64.b64decode(one["data"]).decode())
        for one in document["files"]
    }


async def given_up(engine: ResidentEngine, of: Graph, *, at: str) -> None:
    """Begins a job, and cancels it as soon as it is at that node."""
    is_there = asyncio.Event()

    def progress(one: Progress) -> None:
        if one.node == at:
            is_there.set()

    listener = Listener(say=lambda _: None, progress=progress)
    work = asyncio.create_task(run_job(job_of(of, listener=listener), engine))
    await asyncio.wait_for(is_there.wait(), 60)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work


def test_one_engine_serves_many_jobs_each_with_outputs_of_its_own(opened: Home) -> None:
    async def scenario() -> None:
        async with ResidentEngine(opened, quiet()) as engine:
            pid = engine.engine.pid
            for content in ("one", "two"):
                expected = {"1": ("x_00001.txt", content)}
                assert await made(engine, graph(**{"1": saving(content)})) == expected
            assert engine.engine.pid == pid

    asyncio.run(scenario())


async def ran(engine: ResidentEngine, of: Graph) -> tuple[dict[str, tuple[str, str]], set[str]]:
    """What was made, and the nodes that ran for it."""
    document = await run_job(job_of(of), engine)
    files = {
        one["node"]: (one["filename"], base64.b64decode(one["data"]).decode())
        for one in document["files"]
    }
    return files, set(document["timings"]["nodes"])


def test_a_repeated_job_gives_the_same_files_and_runs_only_what_changed(opened: Home) -> None:
    """The engine names files of an earlier job, whose names new files may have by now."""

    async def scenario() -> None:
        async with ResidentEngine(opened, quiet()) as engine:
            both = graph(**{"1": saving("one"), "2": saving("two")})
            files = {"1": ("x_00001.txt", "one"), "2": ("x_00002.txt", "two")}
            assert await ran(engine, both) == (files, {"1", "2"})
            for _ in range(2):
                assert await ran(engine, both) == (files, set())
            changed = graph(**{"1": saving("one"), "2": saving("changed")})
            files["2"] = ("x_00002.txt", "changed")
            assert await ran(engine, changed) == (files, {"2"})
            assert await ran(engine, changed) == (files, set())

    asyncio.run(scenario())


def test_a_job_finds_nothing_that_was_written_before_it(opened: Home) -> None:
    async def scenario() -> None:
        async with ResidentEngine(opened, quiet()) as engine:
            for folder in (engine.engine.folders.output, engine.engine.folders.temp):
                (folder / "x_00001.txt").write_text("late")
                (folder / "inner").mkdir()
            expected = {"1": ("x_00001.txt", "one")}
            assert await made(engine, graph(**{"1": saving("one")})) == expected

    asyncio.run(scenario())


def test_outputs_that_are_no_longer_kept_are_made_again(
    opened: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rp_handler.engine.kept_outputs._RUNS", 1)

    async def scenario() -> None:
        async with ResidentEngine(opened, quiet()) as engine:
            pid = engine.engine.pid
            await made(engine, graph(**{"1": saving("one")}))
            await made(engine, graph(**{"1": saving("one"), "2": saving("two")}))
            expected = {"1": ("x_00001.txt", "one"), "2": ("x_00002.txt", "new")}
            new = graph(**{"1": saving("one"), "2": saving("new")})
            assert await ran(engine, new) == (expected, {"1", "2"})
            assert await ran(engine, new) == (expected, set())
            assert engine.engine.pid == pid

    asyncio.run(scenario())


def test_what_a_failed_or_cancelled_job_made_is_known_to_the_next(opened: Home) -> None:
    async def scenario() -> None:
        async with ResidentEngine(opened, quiet()) as engine:
            save = {"1": saving("one")}
            fails = graph(**save, **{"2": node("FixtureRaise", kind="ValueError", message="no")})
            with pytest.raises(JobError, match="ValueError"):
                await run_job(job_of(fails), engine)
            assert await ran(engine, graph(**save)) == ({"1": ("x_00001.txt", "one")}, set())
            stays = graph(**{"1": saving("two"), "2": node("FixtureSleep")})
            await given_up(engine, stays, at="2")
            again = graph(**{"1": saving("two")})
            assert await ran(engine, again) == ({"1": ("x_00001.txt", "two")}, set())

    asyncio.run(scenario())


def test_a_graph_that_runs_out_of_memory_is_tried_once_more_with_all_of_it_freed(
    opened: Home,
) -> None:
    async def scenario() -> None:
        async with ResidentEngine(opened, quiet()) as engine:
            hungry = graph(**{"1": node("FixtureHungry", frees=1), "2": saving("two")})
            run = await engine.run(hungry)
            assert run.outputs["1"].shown == {"text": ["eaten"]}
            assert "out of memory" in run.warnings[0]
            assert (await made(engine, graph(**{"2": saving("two")})))["2"][1] == "two"
            with pytest.raises(OutOfMemoryError, match="too big") as caught:
                await engine.run(graph(**{"1": node("FixtureHungry", frees=9)}))
            # Only of the last try.
            lines = [line for line in caught.value.details["log"] if line.startswith("hungry")]
            assert lines == ["hungry after 2"]

    asyncio.run(scenario())


def test_an_engine_that_died_in_a_job_is_started_again_for_the_next(opened: Home) -> None:
    async def scenario() -> None:
        async with ResidentEngine(opened, quiet()) as engine:
            fall = graph(**{"1": node("FixtureExit", status=1)})
            with pytest.raises(EngineCrashedError):
                await engine.run(fall)
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
    monkeypatch.setattr("rp_handler.engine.supervisor._SETTLE_S", 30 if listens else 2)
    if not listens:
        monkeypatch.setenv("FIXTURE_IGNORES_INTERRUPT", "1")
    said: list[str] = []

    async def scenario() -> bool:
        async with ResidentEngine(opened, quiet(said)) as engine:
            first = engine.engine
            sleep = graph(**{"1": node("FixtureSleep")})
            await given_up(engine, sleep, at="1")
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


def test_the_peak_of_the_gpus_memory_is_that_of_each_run(
    opened: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def allocating(size: int, kept: int) -> Graph:
        return graph(**{"1": node("FixtureAllocate", size_bytes=size, kept_bytes=kept)})

    async def peaks() -> list[dict[str, int] | None]:
        async with ResidentEngine(opened, quiet()) as engine:
            asked = [allocating(900, 100), allocating(500, 0), allocating(1, 1)]
            return [(await run_job(job_of(one), engine)).get("memory") for one in asked]

    monkeypatch.setenv("FIXTURE_GPU", "1")
    expected = [{"peak_vram_bytes": size} for size in (900, 600, 101)]
    assert asyncio.run(peaks()) == expected


def test_without_a_gpu_a_result_has_no_memory(opened: Home) -> None:
    async def scenario() -> dict[str, Any]:
        async with ResidentEngine(opened, quiet()) as engine:
            assert await engine.engine.peak_vram_bytes() is None
            return await run_job(job_of(graph(**{"1": saving("one")})), engine)

    assert "memory" not in asyncio.run(scenario())


def files_of(engine: ResidentEngine) -> list[Path]:
    """Everything that runs have left in the engine's folders."""
    folders = engine.engine.folders
    kept = folders.temp.parent.glob("kept-*/*")
    return [*folders.output.iterdir(), *folders.temp.iterdir(), *kept]


async def history_of(engine: ResidentEngine) -> Any:
    async with EngineClient(engine.engine) as client:
        return await client.get("/history")


def test_what_was_forgotten_is_made_again_from_nothing(opened: Home) -> None:
    async def scenario() -> None:
        async with ResidentEngine(opened, quiet()) as engine:
            assert not await engine.forget()
            pid, both = engine.engine.pid, graph(**{"1": saving("one"), "2": saving("two")})
            files = {"1": ("x_00001.txt", "one"), "2": ("x_00002.txt", "two")}
            assert await ran(engine, both) == (files, {"1", "2"})
            assert files_of(engine)
            assert await history_of(engine)
            assert await engine.forget()
            assert files_of(engine) == []
            assert await history_of(engine) == {}
            assert not await engine.forget()
            assert await ran(engine, both) == (files, {"1", "2"})
            assert await ran(engine, both) == (files, set())
            assert engine.engine.pid == pid

    asyncio.run(scenario())


def test_a_cancelled_run_is_forgotten_too(opened: Home) -> None:
    async def scenario() -> None:
        async with ResidentEngine(opened, quiet()) as engine:
            stays = graph(**{"1": saving("one"), "2": node("FixtureSleep")})
            await given_up(engine, stays, at="2")
            assert await engine.forget()
            assert files_of(engine) == []
            expected = ({"1": ("x_00001.txt", "one")}, {"1"})
            assert await ran(engine, graph(**{"1": saving("one")})) == expected

    asyncio.run(scenario())


def test_an_engine_that_does_not_answer_is_replaced_instead_of_forgetting(
    opened: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rp_handler.engine.supervisor._SETTLE_S", 0.5)
    said: list[str] = []

    async def scenario() -> None:
        async with ResidentEngine(opened, quiet(said)) as engine:
            one = graph(**{"1": saving("one")})
            await ran(engine, one)
            pid = engine.engine.pid
            os.kill(pid, signal.SIGSTOP)
            assert await engine.forget()
            assert await ran(engine, one) == ({"1": ("x_00001.txt", "one")}, {"1"})
            assert engine.engine.pid != pid

    asyncio.run(scenario())
    assert "Warning: ComfyUI does not answer; it is ended." in said


def test_an_isolated_run_is_never_answered_from_what_another_made(opened: Home) -> None:
    """As if the engine took the next prompt before it dropped its results."""

    async def scenario() -> None:
        async with ResidentEngine(opened, quiet(), is_isolated=True) as engine:
            one = graph(**{"1": saving("one")})
            expected = ({"1": ("x_00001.txt", "one")}, {"1"})
            assert await ran(engine, one) == expected
            assert await ran(engine, one) == expected

    asyncio.run(scenario())


def test_a_crash_quotes_only_what_its_own_run_wrote(opened: Home) -> None:
    async def scenario() -> None:
        async with ResidentEngine(opened, quiet()) as engine:
            hungry = graph(**{"1": node("FixtureHungry", frees=0)})
            await run_job(job_of(hungry), engine)
            with pytest.raises(EngineCrashedError) as caught:
                await run_job(job_of(graph(**{"1": node("FixtureExit", status=3)})), engine)
            assert "about to fall over" in caught.value.details["log"]
            assert "hungry after 0" not in str(caught.value.details)
            assert "hungry after 0" not in caught.value.message

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("message", "is_restarted"),
    [
        ("CUDA error: an illegal memory access was encountered", True),
        ("HIP error: unspecified launch failure", True),
        ("CUDA error: no kernel image is available for execution on the device", False),
        ("not a CUDA error", False),
    ],
)
def test_an_engine_whose_gpu_reported_an_error_is_replaced(
    opened: Home, message: str, is_restarted: bool
) -> None:
    async def scenario() -> None:
        async with ResidentEngine(opened, quiet()) as engine:
            pid = engine.engine.pid
            fails = graph(**{"1": node("FixtureRaise", kind="RuntimeError", message=message)})
            with pytest.raises(JobError, match="error") as caught:
                await run_job(job_of(fails), engine)
            assert caught.value.error_type == "execution_error"
            assert caught.value.retryable is is_restarted
            expected = {"1": ("x_00001.txt", "one")}
            assert await made(engine, graph(**{"1": saving("one")})) == expected
            assert (engine.engine.pid != pid) is is_restarted

    asyncio.run(scenario())
