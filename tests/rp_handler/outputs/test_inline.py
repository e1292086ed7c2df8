from __future__ import annotations

import asyncio
import base64
import json
from contextlib import nullcontext
from pathlib import Path, PurePath
from typing import Any

import pytest

from rp_handler.errors import OutputTooLargeError
from rp_handler.outputs.files import FilesSink
from rp_handler.outputs.inline import Base64Sink, result_limit_bytes, size_as_json
from rp_handler.outputs.sink import OutputSink


def _put(sink: OutputSink, *paths: Path) -> list[dict[str, Any]]:
    """The entries of these files, after the sink took the result with them."""

    async def work() -> list[dict[str, Any]]:
        entries = [await sink.put(path, PurePath(path.name)) for path in paths]
        await sink.finish({"files": entries})
        return entries

    return asyncio.run(work())


def test_base64_carries_the_bytes_within_the_document(picture: Path) -> None:
    (entry,) = _put(Base64Sink(), picture)
    assert entry["type"] == "base64"
    assert base64.b64decode(entry["data"]) == picture.read_bytes()


def test_a_result_above_the_limit_is_refused_with_all_sizes(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path in paths:
        path.write_bytes(bytes(600_000))
    limit = 2_000_000
    _put(Base64Sink(limit_bytes=limit), *paths[:2])
    with pytest.raises(OutputTooLargeError) as caught:
        _put(Base64Sink(limit_bytes=limit), *paths)
    error = caught.value
    assert error.message == "The result is 2.4 MB as JSON; RunPod accepts 2 MB."
    assert "GCS_BUCKET" in error.remedy
    assert error.details["result_bytes"] == pytest.approx(2_400_000, abs=1000)
    assert {name: error.details[name] for name in ("limit_bytes", "files")} == {
        "limit_bytes": limit,
        "files": {"a": 600_000, "b": 600_000, "c": 600_000},
    }


def test_what_is_put_around_a_result_counts() -> None:
    text = "x" * 1_000_000
    size = len(json.dumps({"output": {"text": text, "status": "success_no_images"}}))
    for limit, is_refused in ((size, True), (size + 200, False)):
        sink = Base64Sink(limit_bytes=limit)
        with pytest.raises(OutputTooLargeError) if is_refused else nullcontext():
            asyncio.run(sink.finish({"text": text}))


@pytest.mark.parametrize("size", [749_000, 749_980, 750_000, 750_010])
def test_no_file_goes_missing_near_the_limit(tmp_path: Path, size: int) -> None:
    (path := tmp_path / "x").write_bytes(bytes(size))
    try:
        (entry,) = _put(Base64Sink(limit_bytes=1_000_000), path)
    except OutputTooLargeError:
        return
    assert len(base64.b64decode(entry["data"])) == size


def test_the_limit_is_one_of_the_document_as_json(tmp_path: Path) -> None:
    (path := tmp_path / "x").write_bytes(bytes(1000))

    async def work(limit_bytes: int) -> int:
        sink = Base64Sink(limit_bytes=limit_bytes)
        entry = await sink.put(path, PurePath("x"))
        result = {"images": [entry], "text": [{"node": "1", "text": 'ü "quoted"'}], "warnings": []}
        await sink.finish(result)
        return size_as_json(result)

    size = asyncio.run(work(10_000))
    assert asyncio.run(work(size)) == size
    with pytest.raises(OutputTooLargeError):
        asyncio.run(work(size - 1))


def test_texts_count_too() -> None:
    async def work() -> None:
        await Base64Sink(limit_bytes=1000).finish({"text": [{"node": "1", "text": "ü" * 500}]})

    with pytest.raises(OutputTooLargeError):
        asyncio.run(work())


def test_what_has_no_room_goes_elsewhere(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path, size in zip(paths, (600_000, 900_000, 600_000), strict=True):
        path.write_bytes(bytes(size))
    other = FilesSink(tmp_path / "outputs", "run")

    async def opened() -> OutputSink:
        return other

    entries = _put(Base64Sink(limit_bytes=2_000_000, overflow=opened), *paths)
    assert [entry["type"] for entry in entries] == ["base64", "file", "base64"]
    assert Path(entries[1]["path"]).stat().st_size == 900_000


def test_the_limit_is_that_of_the_call() -> None:
    assert result_limit_bytes("sync-0b9c") == 20_000_000
    assert result_limit_bytes("0b9c-u1") == 10_000_000


@pytest.mark.parametrize("job", ["test-0b9c", "local_test"])
def test_what_runpod_does_not_see_has_no_limit(job: str) -> None:
    assert result_limit_bytes(job) is None
