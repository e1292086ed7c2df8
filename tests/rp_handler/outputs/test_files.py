from __future__ import annotations

import asyncio
import json
from pathlib import Path, PurePath

import pytest

from rp_handler.outputs.files import FilesSink


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "x.png"
    path.write_bytes(b"bytes \x00\xff")
    return path


def test_files_lie_in_a_new_folder_with_the_result(tmp_path: Path, picture: Path) -> None:
    sink = FilesSink(tmp_path / "outputs", "example")
    entry = asyncio.run(sink.put(picture, PurePath("sub/x.png")))
    assert not sink.folder.exists()
    asyncio.run(sink.finish({"images": [entry]}))
    assert entry == {"type": "file", "path": str(sink.folder / "sub" / "x.png")}
    assert Path(entry["path"]).read_bytes() == picture.read_bytes()
    assert json.loads((sink.folder / "result.json").read_text(encoding="utf-8")) == {
        "images": [entry]
    }
    assert "-example-" in sink.folder.name
    assert [one.name for one in (tmp_path / "outputs").iterdir()] == [sink.folder.name]


def test_runs_never_share_a_folder(tmp_path: Path) -> None:
    assert len({FilesSink(tmp_path, "w").folder for _ in range(50)}) == 50


def test_an_abandoned_run_leaves_nothing(tmp_path: Path, picture: Path) -> None:
    sink = FilesSink(tmp_path / "outputs", "example")
    asyncio.run(sink.put(picture, PurePath("x.png")))
    asyncio.run(sink.abandon())
    assert list((tmp_path / "outputs").iterdir()) == []


def test_abandoning_after_the_end_takes_nothing_away(tmp_path: Path, picture: Path) -> None:
    sink = FilesSink(tmp_path / "outputs", "example")
    asyncio.run(sink.put(picture, PurePath("x.png")))
    asyncio.run(sink.finish({}))
    asyncio.run(sink.abandon())
    assert (sink.folder / "x.png").exists()
