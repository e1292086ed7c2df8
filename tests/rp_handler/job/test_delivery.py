from __future__ import annotations

import asyncio
import hashlib
from base64 import b64decode
from pathlib import Path, PurePath
from typing import Any

from PIL import Image

from rp_handler.job.delivery import Delivery, OutputFile
from rp_handler.outputs.inline import Base64Sink
from rp_handler.pictures.convert import Conversion


def _file(path: Path, node: str = "9") -> OutputFile:
    return OutputFile(node=node, subfolder="", path=path, place=PurePath(path.name))


def _delivered(*paths: Path, **asked: Any) -> tuple[list[dict[str, Any]], list[str]]:
    async def work() -> tuple[list[dict[str, Any]], list[str]]:
        conversion = Conversion.model_validate(asked) if asked else None
        async with Delivery(Base64Sink(), conversion) as delivery:
            return await delivery.deliver([_file(path) for path in paths]), delivery.warnings

    return asyncio.run(work())


def test_an_entry_is_about_the_file_that_is_delivered(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(path := tmp_path / "x_00001_.png")
    ((entry,), warnings) = _delivered(path, format="webp", quality=50)
    content = b64decode(entry["data"])
    assert content[8:12] == b"WEBP"
    assert (entry["filename"], entry["mime"]) == ("x_00001_.webp", "image/webp")
    assert entry["bytes"] == len(content)
    assert entry["sha256"] == hashlib.sha256(content).hexdigest()
    assert warnings == []


def test_two_files_that_get_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("x.png", "x.bmp", "x.webp", "x.txt")]
    for path in paths[:3]:
        Image.new("RGB", (8, 8), "red").save(path)
    paths[3].write_text("x")
    entries, _ = _delivered(*paths, format="webp")
    assert [it["filename"] for it in entries] == ["x.webp", "x_2.webp", "x_3.webp", "x.txt"]
    assert _delivered(*paths, format="webp")[0] == entries


def test_a_file_that_cannot_be_converted_is_delivered_with_a_warning(tmp_path: Path) -> None:
    (path := tmp_path / "x.png").write_bytes(b"no picture")
    ((entry,), warnings) = _delivered(path, format="webp")
    assert (entry["filename"], b64decode(entry["data"])) == ("x.png", b"no picture")
    assert warnings == ["x.png of node 9 was delivered as it is: it cannot be read as a picture."]


def test_files_are_delivered_as_they_are_unless_a_job_asks(tmp_path: Path) -> None:
    (path := tmp_path / "x.png").write_bytes(b"no picture")
    for asked in ({}, {"metadata": "keep"}):
        ((entry,), warnings) = _delivered(path, **asked)
        assert (entry["filename"], entry["bytes"], warnings) == ("x.png", 10, [])
