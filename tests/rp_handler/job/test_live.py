"""What a job shows while it runs, on the fixture core."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any

import pytest
from PIL import Image

from comfy_workflows.graph import parse_workflow
from rp_handler.engine.prompt import Listener
from rp_handler.engine.supervisor import ResidentEngine
from rp_handler.errors import JobError, OutputUploadError
from rp_handler.home.realized import Home, open_home
from rp_handler.job.job import Job
from rp_handler.job.live import Event, preview_extra_data, preview_warnings
from rp_handler.job.run import run_job
from rp_handler.outputs.inline import Base64Sink
from rp_handler.outputs.sink import OutputSink
from rp_handler.pictures.convert import Conversion
from tests.graphs import node, saving

# Each test starts an engine.
pytestmark = pytest.mark.slow


class Bucket(OutputSink):
    """Notes what is put where; its files can be reached at once. The first `faults` puts fail."""

    takes_early = True

    def __init__(self, faults: int = 0) -> None:
        self.puts: list[tuple[str, bytes]] = []
        self._faults = faults

    async def put(self, path: Path, place: PurePath) -> dict[str, Any]:
        if self._faults:
            self._faults -= 1
            raise OutputUploadError("busy")
        self.puts.append((str(place), path.read_bytes()))
        return {"type": "gcs", "uri": f"gs://results/{place}"}


class Updates:
    """The updates of a job, as they would be sent at once."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []
        self.on: Callable[[dict[str, Any]], None] = lambda _: None

    def __call__(self, make: Callable[[], Mapping[str, Any]]) -> None:
        update = json.loads(json.dumps(make()))
        self.all.append(update)
        self.on(update)


@pytest.fixture
def opened(home: Path) -> Home:
    return open_home(home, version_id="demo", id_was_asked=False)


@pytest.fixture
def updates() -> Updates:
    return Updates()


def _job(graph: object, sink: OutputSink, updates: Updates, *events: Event, **options: Any) -> Job:
    listener = Listener(say=lambda _: None, progress=lambda _: None)
    parsed = parse_workflow(graph, place="g")
    return Job(
        **{
            "id": "j",
            "graph": parsed,
            "place": "g",
            "sink": sink,
            "listener": listener,
            "events": frozenset(events),
            "report": updates,
            **options,
        }
    )


def _run(home: Home, *jobs: Job) -> list[Any]:
    async def scenario() -> list[Any]:
        said = Listener(say=lambda _: None, progress=lambda _: None)
        async with ResidentEngine(home, said) as engine:
            return [
                (await asyncio.gather(run_job(job, engine), return_exceptions=True))[0]
                for job in jobs
            ]

    return asyncio.run(asyncio.wait_for(scenario(), 60))


def _two_and_a_wait(tmp_path: Path) -> dict[str, Any]:
    """A node that saves, one that runs until the file `wake` exists, and one that saves."""
    return {
        "1": saving("first"),
        "2": node("FixtureSleep", until=str(tmp_path / "wake"), after=["1", 0]),
        "3": saving("last", after=["2", 0]),
    }


def _wake_at(updates: Updates, tmp_path: Path, key: str) -> None:
    """Lets the waiting node end as soon as an update has an output under `key`."""

    def wake(update: dict[str, Any]) -> None:
        if update.get("outputs", {}).get(key):
            (tmp_path / "wake").touch()

    updates.on = wake


def test_an_output_is_in_the_bucket_while_the_job_runs_and_is_delivered_once(
    opened: Home, updates: Updates, tmp_path: Path
) -> None:
    bucket = Bucket()
    _wake_at(updates, tmp_path, "files")
    (result,) = _run(opened, _job(_two_and_a_wait(tmp_path), bucket, updates, "outputs"))
    assert bucket.puts == [("x_00001.txt", b"first"), ("x_00002.txt", b"last")]
    assert [it["uri"] for it in result["files"]] == [
        "gs://results/x_00001.txt",
        "gs://results/x_00002.txt",
    ]
    shown = [it["outputs"]["files"] for it in updates.all]
    assert shown[0] == result["files"][:1]
    assert shown[-1] == result["files"]
    assert updates.all[-1]["outputs"]["text"] == result["text"]


def test_without_a_bucket_small_outputs_are_in_the_updates(
    opened: Home, updates: Updates, tmp_path: Path
) -> None:
    _wake_at(updates, tmp_path, "files")
    graph = _two_and_a_wait(tmp_path)
    graph["3"]["inputs"]["content"] = "x" * 250_000
    (result,) = _run(opened, _job(graph, Base64Sink(), updates, "outputs"))
    assert updates.all[0]["outputs"]["files"] == result["files"][:1]
    large = {name: it for name, it in result["files"][1].items() if name not in ("type", "data")}
    assert updates.all[-1]["outputs"]["files"] == [result["files"][0], large]


def test_updates_stay_small(opened: Home, updates: Updates) -> None:
    graph = {
        "1": node("FixtureShow", ui={"text": ["x" * 1000] * 400}),
        "2": saving("y" * 100_000, after=["1", 0]),
    }
    (result,) = _run(opened, _job(graph, Base64Sink(), updates, "outputs"))
    assert len(result["text"]) == 400
    outputs = updates.all[-1]["outputs"]
    assert outputs["left_out"] + len(outputs["text"]) + len(outputs["files"]) == 401
    assert 100 < len(outputs["text"]) < 400
    assert len(json.dumps(outputs)) < 300_000


def test_an_early_picture_is_converted_once(opened: Home, updates: Updates, tmp_path: Path) -> None:
    """The fixture core writes texts: what cannot be converted has one warning."""
    bucket = Bucket()
    graph = {"1": saving("no picture", suffix=".png", key="images")}
    conversion = Conversion(format="webp")
    job = _job(graph, bucket, updates, "outputs", conversion=conversion)
    (result,) = _run(opened, job)
    assert len(bucket.puts) == len(result["warnings"]) == 1
    assert updates.all[-1]["outputs"]["images"] == result["images"]


def test_a_run_that_is_repeated_delivers_its_files_again_under_their_names(
    opened: Home, updates: Updates
) -> None:
    bucket = Bucket()
    graph = {"1": saving("first"), "2": node("FixtureHungry", frees=1, after=["1", 0])}
    (result,) = _run(opened, _job(graph, bucket, updates, "outputs"))
    assert bucket.puts == [("x_00001.txt", b"first")] * 2
    assert len(result["files"]) == 1
    assert updates.all[-1]["outputs"]["files"] == result["files"]


def test_a_file_that_changes_after_it_was_sent_is_sent_again(
    opened: Home, updates: Updates, tmp_path: Path
) -> None:
    bucket = Bucket()
    graph = _two_and_a_wait(tmp_path)
    del graph["3"]

    async def scenario() -> Any:
        said = Listener(say=lambda _: None, progress=lambda _: None)
        async with ResidentEngine(opened, said) as engine:

            def change(update: dict[str, Any]) -> None:
                if update["outputs"]["files"] and not (tmp_path / "wake").exists():
                    (engine.engine.folders.output / "x_00001.txt").write_text("changed")
                    (tmp_path / "wake").touch()

            updates.on = change
            return await run_job(_job(graph, bucket, updates, "outputs"), engine)

    result = asyncio.run(asyncio.wait_for(scenario(), 60))
    assert bucket.puts == [("x_00001.txt", b"first"), ("x_00001.txt", b"changed")]
    assert [it["bytes"] for it in result["files"]] == [7]


def test_outputs_from_the_cache_are_those_of_their_own_run(opened: Home, updates: Updates) -> None:
    first, second = Bucket(), Bucket()
    graph = {"1": saving("first")}
    more = {**graph, "2": saving("second")}
    _run(
        opened,
        _job(graph, first, updates, "outputs"),
        _job(more, second, updates, "outputs"),
    )
    assert first.puts == [("x_00001.txt", b"first")]
    assert sorted(content for _, content in second.puts) == [b"first", b"second"]
    assert len({place for place, _ in second.puts}) == 2


def test_an_early_upload_that_fails_is_tried_again_at_the_end(
    opened: Home, updates: Updates
) -> None:
    bucket = Bucket(faults=1)
    (result,) = _run(opened, _job({"1": saving("first")}, bucket, updates, "outputs"))
    assert bucket.puts == [("x_00001.txt", b"first")]
    assert len(result["files"]) == 1
    (error,) = _run(opened, _job({"1": saving("first")}, Bucket(faults=2), updates, "outputs"))
    assert isinstance(error, OutputUploadError)


def test_an_output_outside_the_engines_folders_is_never_delivered_early(
    opened: Home, updates: Updates
) -> None:
    bucket = Bucket()
    leaves = node("FixtureShow", ui={"files": [{"filename": "../../../etc/hostname"}]})
    (error,) = _run(opened, _job({"1": leaves}, bucket, updates, "outputs"))
    assert isinstance(error, JobError)
    assert bucket.puts == []


def _jpeg(color: str, side: int = 16) -> str:
    Image.new("RGB", (side, side), color).save(buffer := io.BytesIO(), format="JPEG")
    return base64.b64encode(buffer.getvalue()).decode()


def _previewing(kind: int, *colors: str, **inputs: Any) -> dict[str, Any]:
    previews = " ".join(_jpeg(color) for color in colors)
    return node("FixturePreview", previews=previews, kind=kind, **inputs)


@pytest.mark.parametrize("kind", [1, 4])
def test_previews_are_shown_with_their_node_until_the_next_one_runs(
    opened: Home, updates: Updates, kind: int
) -> None:
    graph = {"1": _previewing(kind, "red", "blue"), "2": saving("last", after=["1", 0])}
    job = _job(graph, Base64Sink(), updates, "progress", "previews")
    (result,) = _run(opened, job)
    assert [it["filename"] for it in result["files"]] == ["x_00001.txt"]
    shown = [(it["node"], it.get("preview")) for it in updates.all]
    expected = [
        {"node": "1", "mime": "image/jpeg", "data": _jpeg(color)} for color in ("red", "blue")
    ]
    assert shown == [("1", None), *[("1", it) for it in expected], ("2", None)]


def test_previews_that_were_not_asked_for_are_dropped(opened: Home, updates: Updates) -> None:
    graph = {"1": _previewing(4, "red"), "2": _previewing(4, "blue", about={"prompt_id": "x"})}
    (_, second) = _run(
        opened,
        _job(graph, Base64Sink(), updates, "progress"),
        _job({"2": graph["2"]}, Base64Sink(), updates, "progress", "previews"),
    )
    assert second["text"]
    assert updates.all
    assert not any("preview" in it for it in updates.all)


def test_a_core_that_makes_no_previews_by_itself_is_named_in_a_warning(
    opened: Home, updates: Updates
) -> None:
    (result,) = _run(opened, _job({"1": saving("x")}, Base64Sink(), updates, "previews"))
    (warning,) = result["warnings"]
    assert '"--preview-method"' in warning
    assert preview_extra_data([]) == {"preview_method": "auto"}
    assert preview_extra_data(["--preview-method", "taesd"]) == {}
    (opened.comfyui / "latent_preview.py").write_text("def set_preview_method(override): ...\n")
    assert preview_warnings(opened) == []
