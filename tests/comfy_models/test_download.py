from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from comfy_errors import OperationFailedError
from comfy_models.download import download
from comfy_models.search import NeededModel

BYTES = bytes(range(256)) * 20_000
SHA256 = hashlib.sha256(BYTES).hexdigest()


def needed(source: str | None, *mirrors: str) -> NeededModel:
    return NeededModel(
        target_path="x.bin", sha256=SHA256, size_bytes=len(BYTES), source=source, mirrors=mirrors
    )


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[str]:
    """The address of a server with files that are right, wrong, short, endless or elsewhere."""

    async def answer(request: web.Request) -> web.StreamResponse:
        match request.match_info["name"]:
            case "right":
                return web.Response(body=BYTES)
            case "wrong":
                return web.Response(body=BYTES[:-1] + b"!")
            case "page":
                return web.Response(text="<html>Please log in</html>")
            case "moved":
                raise web.HTTPFound("/right?key=secret")
            case "without-length" | "cut" | "stalled" as name:
                response = web.StreamResponse()
                if name != "without-length":
                    response.content_length = len(BYTES)
                await response.prepare(request)
                await response.write(BYTES[:1000])
                if name == "stalled":
                    while request.transport is not None:
                        await asyncio.sleep(0.01)
                if name == "cut" and request.transport is not None:
                    request.transport.abort()
                return response
        raise web.HTTPNotFound

    app = web.Application()
    app.add_routes([web.get("/{name}", answer)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def bring(place: Path, model_of: Callable[[str], NeededModel]) -> None:
    async def scenario() -> None:
        async with served() as address:
            await download(model_of(address), place)

    asyncio.run(scenario())


@pytest.mark.parametrize("name", ["right", "moved"])
def test_the_bytes_arrive_at_their_final_name(tmp_path: Path, name: str) -> None:
    place = tmp_path / "vae/x.bin"
    bring(place, lambda address: needed(f"{address}/{name}"))
    assert place.read_bytes() == BYTES
    assert list(place.parent.iterdir()) == [place]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("wrong", "has the sha256"),
        ("page", "has 26 bytes, not 5120000"),
        ("without-length", "has 1000 bytes, not 5120000"),
        ("cut", "could not be downloaded"),
        ("none", "answers HTTP 404"),
    ],
)
def test_other_bytes_leave_nothing_behind(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(OperationFailedError, match=reason):
        bring(tmp_path / "x.bin", lambda address: needed(f"{address}/{name}"))
    assert list(tmp_path.iterdir()) == []


def test_a_mirror_is_asked_when_the_source_fails(tmp_path: Path) -> None:
    bring(tmp_path / "x.bin", lambda address: needed("hf://org/name/x", f"{address}/right"))
    assert (tmp_path / "x.bin").read_bytes() == BYTES


def test_every_address_is_told_with_its_reason_and_without_its_secrets(tmp_path: Path) -> None:
    with pytest.raises(OperationFailedError) as caught:
        bring(
            tmp_path / "x.bin",
            lambda address: needed("civitai://1?token=secret", f"{address}/none?key=secret", "x"),
        )
    assert "civitai://1 cannot be downloaded at start" in caught.value.message
    assert "/none answers HTTP 404" in caught.value.message
    assert "a file of another machine" in caught.value.message
    assert "secret" not in caught.value.message


def test_a_download_that_is_given_up_leaves_nothing_behind(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with served() as address:
            async with asyncio.timeout(0.3):
                await download(needed(f"{address}/stalled"), tmp_path / "x.bin")

    with pytest.raises(TimeoutError):
        asyncio.run(scenario())
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_download_left_is_removed_but_not_what_is_still_written(
    tmp_path: Path,
) -> None:
    left, fresh = tmp_path / ".x.bin.1.partial", tmp_path / ".x.bin.2.partial"
    left.touch()
    os.utime(left, (1, 1))
    fresh.touch()
    bring(tmp_path / "x.bin", lambda address: needed(f"{address}/right"))
    assert sorted(tmp_path.iterdir()) == [fresh, tmp_path / "x.bin"]
