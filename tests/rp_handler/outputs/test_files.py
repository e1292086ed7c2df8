from __future__ import annotations

import asyncio
import json
from pathlib import Path, PurePath

from rp_handler.outputs.files import FilesSink


def test_files_lie_in_a_new_folder_with_the_result(tmp_path: Path, picture: Path) -> None:
    sink = FilesSink(tmp_path / "outputs", "run")
    entry = asyncio.run(sink.put(picture, PurePath("sub/x.png")))
    assert not sink.folder.exists()
    asyncio.run(sink.finish({"images": [entry]}))
    assert entry == {"type": "file", "path": str(sink.folder / "sub" / "x.png")}
    assert Path(entry["path"]).read_bytes() == picture.read_bytes()
    assert json.loads((sink.folder / "result.json").read_text(encoding="utf-8")) == {
        "images": [entry]
    }
    assert [one.name for one in (tmp_path / "outputs").iterdir()] == ["run"]


def test_an_abandoned_run_leaves_nothing(tmp_path: Path, picture: Path) -> None:
    sink = FilesSink(tmp_path / "outputs", "run")
    asyncio.run(sink.put(picture, PurePath("x.png")))
    asyncio.run(sink.abandon())
    assert list((tmp_path / "outputs").iterdir()) == []


def test_abandoning_after_the_end_takes_nothing_away(tmp_path: Path, picture: Path) -> None:
    sink = FilesSink(tmp_path / "outputs", "run")
    asyncio.run(sink.put(picture, PurePath("x.png")))
    asyncio.run(sink.finish({}))
    asyncio.run(sink.abandon())
    assert (sink.folder / "x.png").exists()
