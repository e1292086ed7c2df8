from __future__ import annotations

import asyncio
import dataclasses
import fcntl
import os
import signal
import socket
import tempfile
import time
from pathlib import Path

import pytest

from comfy_errors import UnavailableError
from comfy_files.files import is_locked
from comfy_files.files import lock as take_lock
from comfy_home.in_use import home_in_use
from comfy_home.layout import LOCK_NAME
from comfy_workflows.graph import parse_workflow
from rp_handler.engine.client import EngineClient
from rp_handler.engine.command import EngineSetup
from rp_handler.engine.process import Engine, follow
from rp_handler.engine.prompt import PromptEvents
from rp_handler.errors import EngineStartError
from tests.graphs import node


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until_gone(pid: int) -> None:
    """The guard kills the group a moment after us; a process that stays fails by the limit."""
    for _ in range(6000):
        if not is_alive(pid):
            return
        time.sleep(0.01)
    pytest.fail(f"process {pid} is still there")


def scratch() -> list[Path]:
    return list(Path(tempfile.gettempdir()).iterdir())


def test_an_engine_is_ready_inside_the_block_and_gone_after_it(setup_of: EngineSetup) -> None:
    async def scenario() -> int:
        async with Engine(setup_of) as engine:
            assert engine.stats["system"]["comfyui_version"] == "0.0.1"
            assert is_alive(engine.pid)
            assert engine.folders.temp.is_dir()
            return engine.pid

    pid = asyncio.run(scenario())
    assert not is_alive(pid)
    assert scratch() == []


def test_an_engine_is_ended_when_the_block_fails(setup_of: EngineSetup) -> None:
    pids = []

    async def scenario() -> None:
        async with Engine(setup_of) as engine:
            pids.append(engine.pid)
            raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        asyncio.run(scenario())
    assert not is_alive(pids[0])
    assert scratch() == []


def test_two_engines_run_side_by_side_in_folders_of_their_own(setup_of: EngineSetup) -> None:
    async def scenario() -> None:
        async with Engine(setup_of) as one, Engine(setup_of) as other:
            assert one.port != other.port
            assert one.folders.output != other.folders.output
            assert one.folders.temp != other.folders.temp

    asyncio.run(scenario())


def test_a_core_that_dies_at_its_start_is_quoted(
    setup_of: EngineSetup,
) -> None:
    setup = dataclasses.replace(setup_of, variables={"FIXTURE_DIE_AT_START": "no such library"})

    async def scenario() -> None:
        async with Engine(setup):
            pass

    with pytest.raises(EngineStartError, match="ended with status 3 before it was ready") as it:
        asyncio.run(scenario())
    assert it.value.exit_code == 3
    assert "no such library" in it.value.message
    (log,) = scratch()
    assert str(log) in it.value.remedy
    assert "no such library" in log.read_text(encoding="utf-8")


def test_a_core_that_is_never_ready_is_given_up(
    setup_of: EngineSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rp_handler.engine.process._START_TIMEOUT_S", 0.5)
    setup = dataclasses.replace(setup_of, variables={"FIXTURE_NEVER_READY": "1"})

    async def scenario() -> None:
        async with Engine(setup):
            pass

    with pytest.raises(EngineStartError, match="was not ready after"):
        asyncio.run(scenario())


def test_a_port_in_use_is_an_error(setup_of: EngineSetup) -> None:
    async def scenario(port: int) -> None:
        async with Engine(setup_of, port=port):
            pass

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UnavailableError, match=f"Port {port} on 127.0.0.1 is in use"):
            asyncio.run(scenario(port))
    assert scratch() == []


def test_the_asked_port_is_the_one_served(setup_of: EngineSetup) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    async def scenario() -> str:
        async with Engine(setup_of, port=port) as engine:
            return engine.url

    assert asyncio.run(scenario()) == f"http://127.0.0.1:{port}"


def test_an_engine_that_ignores_the_request_to_end_is_killed(
    setup_of: EngineSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rp_handler.engine.process._GRACE_S", 0.2)
    setup = dataclasses.replace(setup_of, variables={"FIXTURE_IGNORES_TERM": "1"})
    said: list[str] = []

    async def scenario() -> int:
        async with Engine(setup, log_say=said.append) as engine:
            ended = engine.ended
        return ended.result()

    assert asyncio.run(scenario()) == -signal.SIGKILL
    assert "asked to end" in said


def test_what_a_node_has_started_ends_with_the_engine(setup_of: EngineSetup) -> None:
    async def scenario() -> int:
        async with Engine(setup_of) as engine, EngineClient(engine) as client:
            document = {"1": {"class_type": "FixtureSpawn", "inputs": {}}}
            graph = parse_workflow(document, place="g")
            events = PromptEvents(graph=graph, prompt_id="1", say=lambda _: None)
            execution = await client.run(events)
            child = int(execution.outputs["1"]["text"][0])
            assert is_alive(child)
            return child

    wait_until_gone(asyncio.run(scenario()))


def test_the_log_can_be_followed_live(setup_of: EngineSetup) -> None:
    said: list[str] = []

    async def scenario() -> None:
        async with Engine(setup_of, log_say=said.append):
            while "Starting server" not in said:
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_a_line_is_reported_once_it_is_whole_and_the_rest_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rp_handler.engine.process._FOLLOW_EVERY_S", 0)
    said: list[str] = []

    async def scenario() -> None:
        with (tmp_path / "log").open("wb", buffering=0) as log:
            log.write(b"one\ntw")
            following = asyncio.create_task(follow(tmp_path / "log", said.append))
            while said != ["one"]:
                await asyncio.sleep(0)
            log.write(b"o\nthree")
            following.cancel()
            await asyncio.wait([following])

    asyncio.run(asyncio.wait_for(scenario(), 60))
    assert said == ["one", "two", "three"]


def test_a_long_log_is_shortened_and_followed_on(
    setup_of: EngineSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rp_handler.engine.process._FOLLOW_EVERY_S", 0)
    said: list[str] = []

    async def until_said(line: str) -> None:
        while line not in said:
            await asyncio.sleep(0)

    async def scenario() -> tuple[int, int, str]:
        async with Engine(setup_of, log_say=said.append) as engine, EngineClient(engine) as client:
            with engine.log.open("ab", buffering=0) as log:
                log.writelines(b"%08d %s\n" % (number, b"x" * 50) for number in range(20_000))
                await until_said(f"{19_999:08d} {'x' * 50}")
                engine.shorten_log()
                short = engine.log.stat().st_size
                engine.shorten_log()
                log.write(b"after it\n")
                await until_said("after it")
            graph = parse_workflow({"1": node("FixtureHungry", frees=0)}, place="g")
            await client.run(PromptEvents(graph=graph, prompt_id="p", say=lambda _: None))
            return short, engine.log.stat().st_size, engine.log.read_text()

    short, later, text = asyncio.run(asyncio.wait_for(scenario(), 60))
    assert short == 64 * 1024
    assert later < short + 10_000
    assert text.index("00019999 ") < text.index("after it") < text.index("hungry after 0")
    numbers = [line[:8] for line in said if line.endswith("x" * 50)]
    assert numbers == [f"{number:08d}" for number in range(20_000)]


def test_what_a_node_leaves_running_holds_no_lock(setup_of: EngineSetup, home: Path) -> None:
    node = home / "ComfyUI/custom_nodes/daemon/__init__.py"
    node.parent.mkdir(parents=True)
    node.write_text(
        "import pathlib, subprocess\n"
        "started = subprocess.Popen(['sleep', '60'], start_new_session=True, close_fds=False)\n"
        "pathlib.Path(__file__).with_name('pid').write_text(str(started.pid))\n"
        "NODE_CLASS_MAPPINGS = {}\n"
    )

    async def scenario() -> None:
        with home_in_use(home, pytest.fail):
            engine = await Engine(setup_of).__aenter__()
        await engine.__aexit__(None, None, None)

    asyncio.run(scenario())
    left = int(node.with_name("pid").read_text())
    try:
        os.kill(left, 0)
        with (home / LOCK_NAME).open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.kill(left, signal.SIGKILL)


def test_an_engine_holds_the_locks_of_the_process_that_started_it(
    setup_of: EngineSetup, home: Path
) -> None:
    lock = home / LOCK_NAME

    async def scenario() -> None:
        with home_in_use(home, pytest.fail):
            engine = await Engine(setup_of).__aenter__()
        assert is_locked(lock)
        await engine.__aexit__(None, None, None)
        with lock.open("rb") as stream:
            # Its guard was killed a moment ago.
            take_lock(stream.fileno())

    asyncio.run(scenario())
