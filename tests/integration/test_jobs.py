"""Jobs on real ComfyUI, with the nodes of its own tests and one that adds nodes to the graph."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import json
import os
import random
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from PIL import Image

from comfy_workflows.graph import InvalidWorkflowError, parse_workflow
from rp_handler.engine.process import Engine
from rp_handler.engine.prompt import Listener, Progress
from rp_handler.engine.supervisor import ResidentEngine
from rp_handler.errors import EngineCrashedError, JobError, RefusedPromptError
from rp_handler.home.realized import open_home
from rp_handler.job.job import Job
from rp_handler.job.run import run_job
from rp_handler.outputs.inline import Base64Sink
from rp_handler.pictures.convert import Conversion
from tests.graphs import node
from tests.program import ROOT, Program

# The first saves a picture by a node that it adds to the graph, and gives the picture on. The
# second sends previews as samplers do.
_EXPANDING = """
import time

from comfy.utils import ProgressBar
from comfy_execution.graph_utils import GraphBuilder
from PIL import Image

class SaveByAnother:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "testing"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",)}}

    def run(self, image):
        graph = GraphBuilder()
        graph.node("SaveImage", images=image, filename_prefix="inner")
        return {"result": (image,), "expand": graph.finalize()}

class SendPreviews:
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "run"
    CATEGORY = "testing"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": ("IMAGE",), "steps": ("INT",)}}

    def run(self, image, steps):
        bar = ProgressBar(steps)
        for step in range(1, steps + 1):
            picture = Image.new("RGB", (1024, 1024), (step, 0, 0))
            bar.update_absolute(step, steps, ("JPEG", picture, 512))
            time.sleep(0.01)
        return (image,)

NODE_CLASS_MAPPINGS = {"SaveByAnother": SaveByAnother, "SendPreviews": SendPreviews}
"""


@pytest.fixture(scope="module")
def home(program: Program, place: Path) -> Path:
    spec = json.loads((ROOT / "versions/demo.json").read_text())
    core = spec["comfy"]
    added = place / "expanding"
    added.mkdir()
    (added / "__init__.py").write_text(_EXPANDING)
    tests = f"{core['subdir']}/tests/execution/testing_nodes/testing-pack"
    spec |= {
        "version_id": "jobs",
        "custom_nodes": [
            {**core, "name": "testing-pack", "subdir": tests},
            {"name": "expanding", "repo": str(added)},
        ],
        "models": [],
    }
    path = place / "versions" / "jobs.json"
    path.write_text(json.dumps(spec))
    target = place / "jobs"
    done = program("realize", "jobs", "--target", target, "--json")
    assert done.code == 0, done.err
    return target


class Jobs:
    """Runs jobs on one engine, one after the other."""

    def __init__(self, engine: ResidentEngine) -> None:
        self.engine = engine

    async def run(
        self,
        graph: dict[str, Any],
        said: Callable[[Progress], None] = lambda _: None,
        **options: Any,
    ) -> Any:
        """The pictures as `[(node, name, sha256)]`, the nodes that ran, and the whole result.
        `options` are more of the job.
        """
        listener = Listener(say=lambda _: None, progress=said)
        parsed = parse_workflow(graph, place="g")
        job = Job(
            **{
                "id": "j",
                "graph": parsed,
                "place": "g",
                "sink": Base64Sink(),
                "listener": listener,
                "strict": True,
                **options,
            }
        )
        result = await run_job(job, self.engine)
        assert "previews" in job.events or result["warnings"] == []
        for one in result["images"]:
            content = base64.b64decode(one["data"])
            assert hashlib.sha256(content).hexdigest() == one["sha256"]
        pictures = [(one["node"], one["filename"], one["sha256"]) for one in result["images"]]
        return pictures, set(result["timings"]["nodes"]), result


class Proxy:
    """Passes connections on to a port of this machine, until it cuts them. `cuts` counts those."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: list[asyncio.StreamWriter] = []
        self.cuts = 0

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()

    def cut(self) -> None:
        for each in self._open:
            each.transport.abort()
        self.cuts += len(self._open)
        self._open.clear()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reader_there, writer_there = await asyncio.open_connection("127.0.0.1", self._port)
        self._open += [writer, writer_there]
        with contextlib.suppress(OSError):
            await asyncio.gather(_copied(reader, writer_there), _copied(reader_there, writer))


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def engine(home: Path, loop: asyncio.Runner) -> Iterator[ResidentEngine]:
    """One for all of these tests: most of a start is the import of PyTorch."""
    opened = open_home(home, version_id="jobs", id_was_asked=False)
    engine = ResidentEngine(opened, Listener(say=lambda _: None, progress=lambda _: None))
    loop.run(engine.__aenter__())
    yield engine
    loop.run(engine.__aexit__(None, None, None))


@pytest.fixture
def scenario(
    engine: ResidentEngine, loop: asyncio.Runner
) -> Callable[[Callable[[Jobs], Coroutine[Any, Any, None]]], None]:
    """Runs the steps of a test on an engine that knows nothing of earlier jobs."""

    def run(steps: Callable[[Jobs], Coroutine[Any, Any, None]]) -> None:
        async def on_the_engine() -> None:
            await engine.forget()
            try:
                await steps(Jobs(engine))
            except BaseException:
                await engine.stop()
                raise

        loop.run(asyncio.wait_for(on_the_engine(), 300))

    return run


def image(color: int) -> dict[str, Any]:
    return node("EmptyImage", width=64, height=64, batch_size=1, color=color)


def saved(source: str) -> dict[str, Any]:
    return node("SaveImage", images=[source, 0], filename_prefix="x")


def test_a_repeated_job_runs_nothing_and_a_changed_one_only_what_changed(scenario: Any) -> None:
    async def steps(jobs: Jobs) -> None:
        graph = {"1": image(1), "2": saved("1"), "3": image(2), "4": saved("3")}
        first, ran, _ = await jobs.run(graph)
        assert ran == {"1", "2", "3", "4"}
        # The engine chooses the order.
        assert {name for _, name, _ in first} == {"x_00001_.png", "x_00002_.png"}
        for _ in range(3):
            again, ran, _ = await jobs.run(graph)
            assert (again, ran) == (first, set())
        changed, ran, _ = await jobs.run({**graph, "3": image(3)})
        assert ran == {"3", "4"}
        assert changed[0] == first[0]
        assert changed[1][:2] == first[1][:2]
        assert changed[1] != first[1]

    scenario(steps)


def test_nodes_that_a_node_adds_deliver_each_time(scenario: Any) -> None:
    async def steps(jobs: Jobs) -> None:
        graph = {"1": image(1), "2": node("SaveByAnother", image=["1", 0]), "3": saved("2")}
        first, _, _ = await jobs.run(graph)
        assert sorted(name for _, name, _ in first) == ["inner_00001_.png", "x_00001_.png"]
        again, ran, _ = await jobs.run(graph)
        assert (again, ran) == (first, set())
        more, ran, _ = await jobs.run({**graph, "4": image(5), "5": saved("4")})
        assert ran == {"4", "5"}
        assert sorted(name for _, name, _ in more) == [
            "inner_00001_.png",
            "x_00001_.png",
            "x_00002_.png",
        ]

    scenario(steps)


def test_a_node_that_always_changes_runs_each_time_under_the_same_name(scenario: Any) -> None:
    async def steps(jobs: Jobs) -> None:
        always = node("TestCustomIsChanged", image=["1", 0], should_change=True)
        graph = {"1": image(1), "2": always, "3": saved("2")}
        first, _, _ = await jobs.run(graph)
        for _ in range(2):
            again, ran, _ = await jobs.run(graph)
            assert (again, ran) == (first, {"2", "3"})

    scenario(steps)


def test_only_the_inputs_that_a_lazy_node_asks_for_are_made(scenario: Any) -> None:
    async def steps(jobs: Jobs) -> None:
        for value, needed in ((0.0, "1"), (1.0, "2")):
            _, ran, _ = await jobs.run(
                {
                    "1": image(1),
                    "2": image(2),
                    "3": node("StubMask", value=value, height=64, width=64, batch_size=1),
                    "4": node("TestLazyMixImages", image1=["1", 0], image2=["2", 0], mask=["3", 0]),
                    "5": saved("4"),
                }
            )
            assert ran & {"1", "2"} == {needed}

    scenario(steps)


def test_texts_are_delivered_also_from_the_cache(scenario: Any) -> None:
    async def steps(jobs: Jobs) -> None:
        graph = {
            "1": node("StubInt", value=42),
            "2": node("PreviewAny", source=["1", 0]),
        }
        for expected in ({"1", "2"}, set()):
            _, ran, result = await jobs.run(graph)
            assert result["text"] == [{"node": "2", "text": "42"}]
            assert ran == expected

    scenario(steps)


def test_a_job_that_fails_names_the_node_and_its_work_is_used_by_the_next(scenario: Any) -> None:
    async def steps(jobs: Jobs) -> None:
        graph = {"1": image(1), "2": saved("1")}
        fails = {"3": node("TestSyncError", value=["1", 0]), "4": saved("3")}
        with pytest.raises(JobError, match=r"Node 3 \(TestSyncError\) failed with RuntimeError"):
            await jobs.run({**graph, **fails})
        pictures, ran, _ = await jobs.run(graph)
        assert [name for _, name, _ in pictures] == ["x_00001_.png"]
        assert "1" not in ran

    scenario(steps)


def test_a_graph_that_cannot_run_is_refused(scenario: Any) -> None:
    async def steps(jobs: Jobs) -> None:
        with pytest.raises((InvalidWorkflowError, RefusedPromptError), match="SaveImage"):
            await jobs.run({"1": image(1), "2": node("SaveImage", filename_prefix="x")})

    scenario(steps)


def colour(content: bytes) -> int:
    """That of the one-coloured picture, as EmptyImage takes it."""
    with Image.open(io.BytesIO(content)) as picture:
        pixels = picture.convert("RGB").tobytes()
    assert pixels == pixels[:3] * (len(pixels) // 3)
    return int.from_bytes(pixels[:3], "big")


def test_the_job_after_one_that_is_cancelled_at_any_moment_is_right(scenario: Any) -> None:
    moments = random.Random(50)
    sleep_s = 0.2

    def slow(number: int) -> dict[str, Any]:
        graph = {"1": image(number), "2": saved("1"), "3": image(number + 1)}
        graph["4"] = node("TestSleep", value=["3", 0], seconds=sleep_s)
        return {**graph, "5": saved("4")}

    def moment(number: int) -> float:
        # However fast the machine is, no job ends before its sleep does. Every third may end.
        return moments.uniform(0, 2 * sleep_s if number % 3 == 0 else sleep_s / 2)

    async def steps(jobs: Jobs) -> None:
        await jobs.run(slow(1))
        cancelled = 0
        for number in range(1000, 1100, 2):
            work = asyncio.create_task(jobs.run(slow(number)))
            await asyncio.sleep(moment(number))
            work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await work
            cancelled += work.cancelled()
            graph = {"1": image(0xABC000 + number), "2": saved("1")}
            pictures, _, result = await jobs.run(graph)
            assert [name for _, name, _ in pictures] == ["x_00001_.png"]
            content = base64.b64decode(result["images"][0]["data"])
            assert colour(content) == 0xABC000 + number
        assert cancelled >= 25

    scenario(steps)


def test_a_job_whose_engine_is_killed_may_be_tried_again_and_the_next_is_right(
    scenario: Any,
) -> None:
    async def steps(jobs: Jobs) -> None:
        begun = asyncio.Event()

        def progress(one: Progress) -> None:
            if one.node == "2":
                begun.set()

        graph = {"1": image(1), "2": node("TestSleep", value=["1", 0], seconds=60.0)}
        work = asyncio.create_task(jobs.run({**graph, "3": saved("2")}, progress))
        await begun.wait()
        killed = jobs.engine.engine.pid
        os.kill(killed, signal.SIGKILL)
        with pytest.raises(EngineCrashedError, match="killed by signal 9") as raised:
            await work
        assert raised.value.retryable
        pictures, ran, _ = await jobs.run({"1": image(1), "2": saved("1")})
        assert [name for _, name, _ in pictures] == ["x_00001_.png"]
        assert ran == {"1", "2"}
        assert jobs.engine.engine.pid != killed

    scenario(steps)


def test_a_job_whose_connections_are_cut_by_a_proxy_succeeds(
    scenario: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def steps(jobs: Jobs) -> None:
        async with Proxy(jobs.engine.engine.port) as proxy:
            monkeypatch.setattr(Engine, "url", proxy.url)

            def progress(one: Progress) -> None:
                if one.node == "2" and not proxy.cuts:
                    proxy.cut()

            graph = {"1": image(1), "2": node("TestSleep", value=["1", 0], seconds=1.0)}
            pictures, ran, _ = await jobs.run({**graph, "3": saved("2")}, progress)
            assert proxy.cuts > 0
            assert [name for _, name, _ in pictures] == ["x_00001_.png"]
            assert "2" in ran

    scenario(steps)


def test_a_slow_node_is_cancelled_within_a_second_and_the_next_job_is_right(scenario: Any) -> None:
    async def cancelled(jobs: Jobs, color: int) -> tuple[float, float]:
        """The seconds of a small job, and those of one right after a cancellation with it."""
        graph = {"1": image(color), "2": node("TestSleep", value=["1", 0], seconds=60.0)}
        graph["3"] = saved("2")
        began = asyncio.Event()
        told: list[Progress] = []

        def progress(one: Progress) -> None:
            told.append(one)
            if one.node == "2" and one.step:
                began.set()

        before = time.monotonic()
        await jobs.run({"1": image(0xABC000 + color), "2": saved("1")})
        usual_s = time.monotonic() - before
        work = asyncio.create_task(jobs.run(graph, progress))
        await began.wait()
        before = time.monotonic()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        pictures, ran, _ = await jobs.run({"1": image(color), "2": saved("1")})
        both_s = time.monotonic() - before
        assert [name for _, name, _ in pictures] == ["x_00001_.png"]
        assert "1" not in ran
        steps_told = [one.step for one in told if one.node == "2" and one.step is not None]
        assert steps_told == sorted(steps_told)
        return usual_s, both_s

    async def steps(jobs: Jobs) -> None:
        # A busy machine may be late once; what takes longer by itself does so each time.
        seconds: list[tuple[float, float]] = []
        while not any(both_s < 1 + 2 * usual_s for usual_s, both_s in seconds):
            assert len(seconds) < 3, f"it was not cancelled in time: {seconds}"
            seconds.append(await cancelled(jobs, 1 + len(seconds)))

    scenario(steps)


def test_a_picture_is_converted_and_its_graph_comes_along(scenario: Any) -> None:
    async def steps(jobs: Jobs) -> None:
        graph = {"1": image(0xFF8000), "2": saved("1"), "3": node("PreviewImage", images=["1", 0])}
        first, _, plain = await jobs.run(graph)
        conversion = Conversion(format="webp", quality=80)
        made, ran, result = await jobs.run(graph, conversion=conversion)
        again, _, _ = await jobs.run(graph, conversion=conversion)
        assert (made, ran) == (again, set())
        assert all(name.endswith(".webp") for _, name, _ in made)
        assert await jobs.run(graph) == (first, set(), ANY)
        content = base64.b64decode(result["images"][0]["data"])
        with Image.open(io.BytesIO(content)) as picture:
            assert picture.format == "WEBP"
            prompt = picture.getexif()[0x0110].removeprefix("prompt:")
        assert json.loads(prompt) == graph
        bare, _, result = await jobs.run(graph, conversion=Conversion(metadata="strip"))
        for before, after in zip(plain["images"], result["images"], strict=True):
            assert b"class_type" in base64.b64decode(before["data"])
            assert b"class_type" not in base64.b64decode(after["data"])
        assert [name for _, name, _ in bare] == [name for _, name, _ in first]

    scenario(steps)


def test_outputs_and_previews_are_shown_while_a_job_runs(scenario: Any) -> None:
    async def steps(jobs: Jobs) -> None:
        graph = {
            "1": image(7),
            "2": saved("1"),
            "3": node("SendPreviews", image=["1", 0], steps=50),
            "4": saved("3"),
            "5": node("PreviewImage", images=["3", 0]),
        }
        updates: list[Any] = []
        events = frozenset({"progress", "outputs", "previews"})
        pictures, _, result = await jobs.run(
            graph, events=events, report=lambda make: updates.append(make())
        )
        assert '"--preview-method"' in result["warnings"][0]
        assert len(result["images"]) == len(pictures) == 3
        shown = updates[-1]["outputs"]["images"]
        by_node = {it["node"]: it for it in shown}
        assert by_node == {it["node"]: it for it in result["images"]}
        assert len(shown) == 3
        # The engine chooses whether it saves first.
        saved_at = [number for number, it in enumerate(updates) if it["outputs"]["images"]]
        seen = [(it["node"], it["preview"]) for it in updates if "preview" in it]
        assert {at for at, _ in seen} == {"3"}
        assert all(preview["node"] == "3" for _, preview in seen)
        assert len({preview["data"] for _, preview in seen}) > 10
        with Image.open(io.BytesIO(base64.b64decode(seen[-1][1]["data"]))) as picture:
            assert (picture.format, picture.size) == ("JPEG", (512, 512))
        assert saved_at[0] < len(updates) - 1
        # What was shown is kept for the next job, of which nothing runs.
        again, ran, _ = await jobs.run(graph, events=events, report=lambda _: None)
        assert (sorted(again), ran) == (sorted(pictures), set())

    scenario(steps)
