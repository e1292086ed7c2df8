from __future__ import annotations

import asyncio
import json
import os
import signal
import uuid
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web

from comfy_workflows.graph import parse_workflow
from rp_handler.engine import client as client_module
from rp_handler.engine.client import EngineClient, Execution
from rp_handler.engine.command import EngineSetup
from rp_handler.engine.process import Engine
from rp_handler.engine.prompt import Progress, ProgressSay, PromptEvents
from rp_handler.errors import (
    EngineCrashedError,
    JobCancelledError,
    JobError,
    OutOfMemoryError,
    RefusedPromptError,
)

SAVE = {"content": "hello", "prefix": "x", "suffix": ".txt", "key": "files"}


def graph(**nodes: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        name.removeprefix("n"): {"class_type": class_type, "inputs": inputs}
        for name, (class_type, inputs) in nodes.items()
    }


def events_of(document: dict[str, Any], say: ProgressSay = lambda _: None) -> PromptEvents:
    graph = parse_workflow(document, place="g")
    return PromptEvents(graph=graph, prompt_id=str(uuid.uuid4()), say=say)


def run(
    setup: EngineSetup,
    document: dict[str, Any],
    say: ProgressSay = lambda _: None,
    **options: Any,
) -> Execution:
    """Runs a graph; raises the error that it ended with."""

    async def scenario() -> Execution:
        async with Engine(setup) as engine, EngineClient(engine) as client:
            return await client.run(events_of(document, say), **options)

    execution = asyncio.run(asyncio.wait_for(scenario(), 120))
    if execution.error:
        raise execution.error
    return execution


def test_a_graph_runs_and_its_outputs_come_from_the_history(setup_of: EngineSetup) -> None:
    execution = run(
        setup_of,
        graph(
            n1=("FixtureText", {"text": "from a link"}),
            n2=("FixtureSave", {**SAVE, "content": ["1", 0]}),
        ),
    )
    assert execution.outputs["2"]["files"] == [
        {"filename": "x_00001.txt", "subfolder": "", "type": "output"}
    ]
    assert execution.warnings == ()
    assert set(execution.timings.nodes) == {"1", "2"}


@pytest.mark.parametrize("style", ["progress", "progress_state"])
def test_progress_names_the_node_and_counts_its_steps(setup_of: EngineSetup, style: str) -> None:
    told: list[Progress] = []
    run(
        setup_of,
        graph(
            n1=("FixtureText", {"text": "a"}),
            n2=("FixtureProgress", {"steps": 3, "style": style, "after": ["1", 0]}),
        ),
        say=told.append,
    )
    assert [
        (one.node, one.class_type, one.step, one.steps, one.done, one.total) for one in told
    ] == [
        ("1", "FixtureText", None, None, 0, 2),
        ("2", "FixtureProgress", None, None, 1, 2),
        ("2", "FixtureProgress", 1, 3, 1, 2),
        ("2", "FixtureProgress", 2, 3, 1, 2),
        ("2", "FixtureProgress", 3, 3, 1, 2),
    ]


def test_a_refused_graph_is_reported_in_plain_words(setup_of: EngineSetup) -> None:
    with pytest.raises(RefusedPromptError) as caught:
        run(setup_of, graph(n1=("FixtureRaise", {"kind": "ValueError"})))
    assert "node 1 (FixtureRaise): Required input is missing: message" in caught.value.message
    assert caught.value.details["node_errors"]["1"]["class_type"] == "FixtureRaise"
    assert caught.value.exit_code == 2


def test_a_refusal_without_node_errors_is_reported_too(setup_of: EngineSetup) -> None:
    with pytest.raises(RefusedPromptError, match="node Nothing does not exist"):
        run(setup_of, graph(n1=("Nothing", {})))


def test_a_graph_that_runs_in_part_gives_warnings(setup_of: EngineSetup) -> None:
    document = graph(n1=("FixtureSave", SAVE), n2=("FixtureRaise", {"kind": "ValueError"}))
    execution = run(setup_of, document)
    assert set(execution.outputs) == {"1"}
    assert len(execution.warnings) == 1
    assert "node 2 (FixtureRaise): Required input is missing" in execution.warnings[0]


def test_a_graph_that_runs_in_part_is_an_error_for_the_strict(setup_of: EngineSetup) -> None:
    document = graph(n1=("FixtureSave", SAVE), n2=("FixtureRaise", {"kind": "ValueError"}))
    with pytest.raises(RefusedPromptError, match=r"node 2 \(FixtureRaise\)"):
        run(setup_of, document, strict=True)


def test_a_node_that_raises_is_named_with_its_exception_and_traceback(
    setup_of: EngineSetup,
) -> None:
    with pytest.raises(JobError) as caught:
        run(setup_of, graph(n7=("FixtureRaise", {"kind": "ValueError", "message": "too blue"})))
    assert "Node 7 (FixtureRaise) failed with ValueError: too blue" in caught.value.message
    assert "in run" in caught.value.message
    assert caught.value.details["exception"] == "ValueError"
    assert caught.value.error_type == "execution_error"


def test_running_out_of_memory_has_a_type_of_its_own(setup_of: EngineSetup) -> None:
    with pytest.raises(OutOfMemoryError):
        run(setup_of, graph(n1=("FixtureRaise", {"kind": "MemoryError", "message": "full"})))


def test_an_interruption_from_outside_is_reported(setup_of: EngineSetup) -> None:
    with pytest.raises(JobCancelledError, match=r"interrupted at node 1 \(FixtureInterruptItself"):
        run(setup_of, graph(n1=("FixtureInterruptItself", {})))


@pytest.mark.parametrize("deaf", [False, True])
def test_a_dropped_socket_does_not_lose_the_run(setup_of: EngineSetup, deaf: bool) -> None:
    execution = run(
        setup_of,
        graph(
            n1=("FixtureDropSocket", {"deaf": deaf}),
            n2=("FixtureSave", {**SAVE, "after": ["1", 0]}),
        ),
    )
    assert set(execution.outputs) == {"1", "2"}


def test_an_error_after_a_dropped_socket_is_still_reported(setup_of: EngineSetup) -> None:
    document = graph(
        n1=("FixtureDropSocket", {"deaf": True}),
        n2=("FixtureRaise", {"kind": "ValueError", "message": "late", "after": ["1", 0]}),
    )
    with pytest.raises(JobError, match="late"):
        run(setup_of, document)


class SlowSocket:
    """A server in front of an engine that holds back what the engine's socket sends until a prompt
    is seen in the history."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._seen = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def __aenter__(self) -> SlowSocket:
        self._session = aiohttp.ClientSession()
        app = web.Application()
        app.router.add_get("/ws", self._socket)
        app.router.add_route("*", "/{path:.*}", self._request)
        self._runner = web.AppRunner(app, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
        await self._runner.cleanup()

    async def _request(self, request: web.Request) -> web.Response:
        url, body = f"{self._engine.url}{request.path_qs}", await request.read()
        async with self._session.request(request.method, url, data=body) as answer:
            text = await answer.text()
            if request.path.startswith("/history/") and json.loads(text):
                self._seen.set()
            return web.Response(text=text, status=answer.status, content_type="application/json")

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async with self._session.ws_connect(f"{self._engine.url}{request.path_qs}") as engine:
            async for message in engine:
                await self._seen.wait()
                await socket.send_str(message.data)
        return socket


def test_messages_that_come_after_the_history_are_heard(
    setup_of: EngineSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_QUIET_S", 0.1)
    # Only so that a busy machine does not fail the test.
    monkeypatch.setattr(client_module, "_LAST_MESSAGES_S", 10.0)

    async def scenario() -> Execution:
        async with (
            Engine(setup_of) as engine,
            SlowSocket(engine) as slow,
            EngineClient(cast("Engine", slow)) as client,
        ):
            return await client.run(events_of(graph(n1=("FixtureSave", SAVE))))

    execution = asyncio.run(asyncio.wait_for(scenario(), 60))
    assert execution.ran == {"1"}
    assert set(execution.timings.nodes) == {"1"}


def test_previews_may_be_larger_than_a_usual_message(setup_of: EngineSetup) -> None:
    document = graph(n1=("FixtureBigPreview", {"size_bytes": 20_000_000}))
    assert run(setup_of, document).outputs["1"] == {"text": ["sent"]}


def test_an_engine_that_falls_over_in_the_middle_is_quoted(setup_of: EngineSetup) -> None:
    with pytest.raises(EngineCrashedError) as caught:
        run(setup_of, graph(n4=("FixtureExit", {"status": 9})))
    assert "ended with status 9 while running node 4 (FixtureExit)" in caught.value.message
    assert "about to fall over" in caught.value.message
    assert caught.value.retryable


def test_an_engine_that_is_killed_in_the_middle_is_recognised(setup_of: EngineSetup) -> None:
    async def scenario() -> None:
        async with Engine(setup_of) as engine, EngineClient(engine) as client:

            def kill(_: Progress) -> None:
                os.kill(engine.pid, signal.SIGKILL)

            document = graph(n1=("FixtureSleep", {}))
            await client.run(events_of(document, kill))

    with pytest.raises(EngineCrashedError, match="killed by signal 9") as caught:
        asyncio.run(asyncio.wait_for(scenario(), 60))
    assert "memory" in caught.value.remedy


@pytest.mark.parametrize("is_new", [False, True], ids=["old core", "new core"])
def test_a_cancelled_run_is_interrupted_in_the_engine(
    setup_of: EngineSetup, monkeypatch: pytest.MonkeyPatch, is_new: bool
) -> None:
    if is_new:
        monkeypatch.setenv("FIXTURE_CANCELS_JOBS", "1")
    said: list[str] = []

    async def scenario() -> None:
        engine = Engine(setup_of, log_say=said.append)
        async with engine, EngineClient(engine) as client:
            running = asyncio.Event()
            events = events_of(graph(n1=("FixtureSleep", {})), lambda _: running.set())
            job = asyncio.create_task(client.run(events))
            await running.wait()
            job.cancel()
            with pytest.raises(asyncio.CancelledError):
                await job
            # The engine can take the next job.
            assert await client.get("/system_stats")

    asyncio.run(scenario())
    assert [it for it in said if it in ("interrupted", "cancelled")] == [
        "cancelled" if is_new else "interrupted"
    ]


def test_what_this_core_does_not_have_is_none(setup_of: EngineSetup) -> None:
    async def scenario() -> Any:
        async with Engine(setup_of) as engine, EngineClient(engine) as client:
            return await client.get("/api/jobs")

    assert asyncio.run(scenario()) is None
