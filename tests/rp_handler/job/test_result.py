from __future__ import annotations

import asyncio
import hashlib
import re
from base64 import b64decode
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import pytest

from comfy_workflows.graph import parse_workflow
from rp_handler.engine.command import EngineFolders
from rp_handler.engine.kept_outputs import NodeOutputs
from rp_handler.errors import JobError
from rp_handler.job.delivery import Delivery
from rp_handler.job.result import add_outputs
from rp_handler.outputs.files import FilesSink
from rp_handler.outputs.inline import Base64Sink
from rp_handler.outputs.sink import OutputSink

GRAPH = parse_workflow(
    {name: {"class_type": "X", "inputs": {}} for name in ("3", "1")}, place="graph"
)


@pytest.fixture
def folders(tmp_path: Path) -> EngineFolders:
    made = EngineFolders(
        input=tmp_path / "input",
        output=tmp_path / "output",
        user=tmp_path / "user",
        temp=tmp_path / "temp",
    )
    for folder in (made.input, made.output, made.temp, made.output / "sub"):
        folder.mkdir(parents=True)
    (made.output / "a.png").write_bytes(b"picture")
    (made.output / "sub" / "b.mp4").write_bytes(b"film")
    (made.temp / "c.webp").write_bytes(b"preview")
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    return made


def shown_in(folders: EngineFolders, history: dict[str, Any]) -> dict[str, NodeOutputs]:
    return {node: NodeOutputs(shown=it, folders=folders) for node, it in history.items()}


def collect(folders: EngineFolders, history: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = {"images": [], "files": [], "text": [], "warnings": []}
    asyncio.run(add_outputs(document, shown_in(folders, history), GRAPH, Delivery(Base64Sink())))
    return document


def entry(filename: str, subfolder: str = "", kind: str = "output") -> dict[str, str]:
    return {"filename": filename, "subfolder": subfolder, "type": kind}


def test_files_are_collected_under_any_key_with_their_hash_and_type(
    folders: EngineFolders,
) -> None:
    outputs = collect(
        folders,
        {
            "1": {"images": [entry("a.png")], "animated": [False]},
            "3": {"gifs": [entry("b.mp4", "sub"), entry("c.webp", kind="temp")]},
        },
    )

    def described(kind: str) -> list[tuple[str, ...]]:
        keys = ("node", "filename", "subfolder", "mime")
        return [tuple(one[key] for key in keys) for one in outputs[kind]]

    assert described("files") == [("3", "b.mp4", "sub", "video/mp4")]
    assert described("images") == [
        ("1", "a.png", "", "image/png"),
        ("3", "c.webp", "", "image/webp"),
    ]
    picture = outputs["images"][0]
    assert picture["sha256"] == hashlib.sha256(b"picture").hexdigest()
    assert picture["bytes"] == len(b"picture")
    assert outputs["warnings"] == []


class WaitingSink(OutputSink):
    """Stores a file once it was given `parties` files; the file `refused` fails at once."""

    def __init__(self, parties: int, refused: str = "") -> None:
        self.all_here = asyncio.Barrier(parties)
        self.refused = refused
        self.cancelled: list[str] = []

    async def put(self, path: Path, place: PurePath) -> dict[str, Any]:
        if path.name == self.refused:
            raise JobError("no room")
        try:
            await self.all_here.wait()
        except asyncio.CancelledError:
            self.cancelled.append(str(place))
            raise
        return {"type": "test", "place": str(place)}


async def _collect_three(folders: EngineFolders, sink: OutputSink) -> dict[str, Any]:
    history = {
        "1": {"images": [entry("a.png")]},
        "3": {"gifs": [entry("b.mp4", "sub"), entry("c.webp", kind="temp")]},
    }
    document: dict[str, Any] = {"images": [], "files": [], "text": [], "warnings": []}
    async with asyncio.timeout(10):
        await add_outputs(document, shown_in(folders, history), GRAPH, Delivery(sink))
    return document


def test_files_are_stored_concurrently_and_keep_their_order(folders: EngineFolders) -> None:
    document = asyncio.run(_collect_three(folders, WaitingSink(3)))
    assert [one["place"] for one in document["images"]] == ["a.png", "temp/c.webp"]


def test_a_file_that_cannot_be_stored_stops_the_others(folders: EngineFolders) -> None:
    sink = WaitingSink(3, refused="c.webp")
    with pytest.raises(JobError, match="no room"):
        asyncio.run(_collect_three(folders, sink))
    assert sorted(sink.cancelled) == ["a.png", "sub/b.mp4"]


def test_texts_are_collected_and_other_values_are_not(folders: EngineFolders) -> None:
    outputs = collect(
        folders, {"1": {"text": ["one", "two"], "result": ["x.glb", None], "number": [3]}}
    )
    assert outputs["text"] == [{"node": "1", "text": "one"}, {"node": "1", "text": "two"}]
    assert outputs["files"] == []


def test_a_preview_does_not_overwrite_a_result_of_its_name(
    folders: EngineFolders, tmp_path: Path
) -> None:
    (folders.temp / "a.png").write_bytes(b"preview")
    document: dict[str, Any] = {"images": [], "files": [], "text": [], "warnings": []}
    both = {"1": {"images": [entry("a.png"), entry("a.png", kind="temp")]}}
    sink = FilesSink(tmp_path / "outputs", "w")
    asyncio.run(add_outputs(document, shown_in(folders, both), GRAPH, Delivery(sink)))
    asyncio.run(sink.finish(document))
    delivered = [Path(one["path"]).read_bytes() for one in document["images"]]
    assert delivered == [b"picture", b"preview"]


def test_another_file_of_a_name_that_is_taken_gets_the_next_number(
    folders: EngineFolders, tmp_path: Path
) -> None:
    kept = replace(folders, output=tmp_path / "kept")
    kept.output.mkdir()
    for folder, names in ((kept.output, "0102"), (folders.output, "01")):
        for name in re.findall("..", names):
            (folder / f"x_{name}_.txt").write_text(folder.name)
        (folder / "fixed.txt").write_text(folder.name)
    shown = {
        "3": NodeOutputs(
            shown={"files": [entry(name) for name in ("x_01_.txt", "x_02_.txt", "fixed.txt")]},
            folders=kept,
        ),
        "1": NodeOutputs(
            shown={"files": [entry("x_01_.txt"), entry("fixed.txt")]}, folders=folders
        ),
    }
    document: dict[str, Any] = {"images": [], "files": [], "text": [], "warnings": []}
    asyncio.run(add_outputs(document, shown, GRAPH, Delivery(Base64Sink())))
    assert [(one["filename"], b64decode(one["data"]).decode()) for one in document["files"]] == [
        ("x_01_.txt", "kept"),
        ("x_02_.txt", "kept"),
        ("fixed.txt", "kept"),
        ("x_03_.txt", "output"),
        ("fixed_2.txt", "output"),
    ]


def test_a_file_that_is_not_there_is_a_warning(folders: EngineFolders) -> None:
    outputs = collect(folders, {"1": {"images": [entry("gone.png", "sub")]}})
    assert outputs["files"] == []
    assert outputs["warnings"] == ["Node 1 names an output file that does not exist: sub/gone.png."]


@pytest.mark.parametrize(
    ("filename", "subfolder"),
    [
        ("../secret.txt", ""),
        ("secret.txt", ".."),
        ("secret.txt", "sub/../.."),
        ("x.txt", "../output"),
        ("/etc/hostname", ""),
        ("hostname", "/etc"),
        ("link.txt", ""),
    ],
)
def test_nothing_outside_the_engines_folders_is_delivered(
    folders: EngineFolders, filename: str, subfolder: str
) -> None:
    (folders.output / "link.txt").symlink_to(folders.output.parent / "secret.txt")
    with pytest.raises(JobError, match="Node 1 names an output outside the engine's folders"):
        collect(folders, {"1": {"images": [entry(filename, subfolder)]}})


def test_an_unknown_suffix_is_plain_bytes(folders: EngineFolders) -> None:
    (folders.output / "d.zzz").touch()
    (output,) = collect(folders, {"1": {"files": [entry("d.zzz")]}})["files"]
    assert output["mime"] == "application/octet-stream"
