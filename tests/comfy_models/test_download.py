from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from comfy_errors import OperationFailedError
from comfy_files.parallel import give_up_with
from comfy_home.manifest import ManifestModel
from comfy_models.download import download

BYTES = bytes(range(256)) * 20_000
SHA256 = hashlib.sha256(BYTES).hexdigest()
MIB = 1024 * 1024


def needed(source: str | None, *mirrors: str) -> ManifestModel:
    return ManifestModel(
        target_path="x.bin", sha256=SHA256, size=len(BYTES), source=source, mirrors=list(mirrors)
    )


@dataclass
class Served:
    """A server with files that are right, wrong, short, endless or elsewhere, and what it heard:
    the path of each request with its `Range` and its `Authorization`."""

    url: str = ""
    heard: list[tuple[str, str | None, str | None]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked = request.headers
        self.heard.append((request.path, asked.get("Range"), asked.get("Authorization")))
        match request.match_info["name"]:
            case "right":
                return web.Response(body=BYTES)
            case "wrong":
                return web.Response(body=BYTES[:-1] + b"!")
            case "page":
                return web.Response(text="<html>Please log in</html>")
            case "moved":
                raise web.HTTPFound("/right?key=secret")
            case "elsewhere":
                raise web.HTTPFound(f"{self.url.replace('127.0.0.1', 'localhost')}/right")
            case "broken" if "Range" in asked and asked.get("If-Range") == '"v1"':
                start = int(asked["Range"].removeprefix("bytes=").removesuffix("-"))
                span = {"Content-Range": f"bytes {start}-{len(BYTES) - 1}/{len(BYTES)}"}
                return web.Response(status=206, body=BYTES[start:], headers=span)
            case "without-length" | "cut" | "broken" | "stalled" as name:
                response = web.StreamResponse()
                if name != "without-length":
                    response.content_length = len(BYTES)
                if name == "broken":
                    response.headers["ETag"] = '"v1"'
                await response.prepare(request)
                await response.write(BYTES[: 2 * MIB if name == "broken" else 1000])
                while name == "stalled" and request.transport is not None:
                    await asyncio.sleep(0.01)
                if name in ("cut", "broken") and request.transport is not None:
                    # What was written is to arrive before the end does.
                    await asyncio.sleep(0.2)
                    request.transport.abort()
                return response
        raise web.HTTPNotFound

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        app = web.Application()
        app.add_routes([web.get("/{name}", self.answer)])
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield
        finally:
            await runner.cleanup()


def bring(
    place: Path,
    model_of: Callable[[str], ManifestModel],
    given_up: threading.Event | None = None,
) -> Served:
    served = Served()

    def work() -> None:
        give_up_with(given_up or threading.Event())
        download(model_of(served.url), place)

    async def scenario() -> None:
        async with served.running():
            await asyncio.to_thread(work)

    asyncio.run(scenario())
    return served


@pytest.mark.parametrize("name", ["right", "moved"])
def test_the_bytes_arrive_at_their_final_name(tmp_path: Path, name: str) -> None:
    place = tmp_path / "vae/x.bin"
    bring(place, lambda address: needed(f"{address}/{name}"))
    assert place.read_bytes() == BYTES
    assert list(place.parent.iterdir()) == [place]


def test_a_broken_connection_is_taken_up_from_the_last_byte(tmp_path: Path) -> None:
    served = bring(tmp_path / "x.bin", lambda address: needed(f"{address}/broken"))
    assert (tmp_path / "x.bin").read_bytes() == BYTES
    assert [span for _, span, _ in served.heard] == [None, f"bytes={2 * MIB}-"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("wrong", "has sha256"),
        ("page", "has 26 bytes, not 5120000"),
        ("without-length", "has 1000 bytes, not 5120000"),
        ("cut", "could not be read: .*IncompleteRead"),
        ("stalled", "could not be read: .*timed out"),
        ("none", "could not be read: it answered 404"),
    ],
)
def test_other_bytes_leave_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    monkeypatch.setattr("comfy_http.client._STALL_S", 0.5)
    with pytest.raises(OperationFailedError, match=reason):
        bring(tmp_path / "x.bin", lambda address: needed(f"{address}/{name}"))
    assert list(tmp_path.iterdir()) == []


def test_a_model_may_be_larger_than_any_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_http.client._LARGEST_BYTES", 1000)
    bring(tmp_path / "x.bin", lambda address: needed(f"{address}/right"))
    assert (tmp_path / "x.bin").read_bytes() == BYTES


def test_a_login_is_not_sent_to_the_host_that_a_redirect_leads_to(tmp_path: Path) -> None:
    def model_of(address: str) -> ManifestModel:
        return needed(f"{address.replace('//', '//me:token@')}/elsewhere")

    served = bring(tmp_path / "x.bin", model_of)
    login = f"Basic {base64.b64encode(b'me:token').decode()}"
    assert served.heard == [("/elsewhere", None, login), ("/right", None, None)]


def test_a_mirror_is_asked_when_the_source_fails(tmp_path: Path) -> None:
    bring(tmp_path / "x.bin", lambda address: needed("hf://org/name/x", f"{address}/right"))
    assert (tmp_path / "x.bin").read_bytes() == BYTES


def test_every_address_is_told_with_its_reason_and_without_its_secrets(tmp_path: Path) -> None:
    with pytest.raises(OperationFailedError) as caught:
        bring(
            tmp_path / "x.bin",
            lambda address: needed("civitai://1?token=secret", f"{address}/none?key=secret", "x"),
        )
    assert "civitai://1?token=*** cannot be downloaded at start" in caught.value.message
    assert "/none?key=*** could not be read: it answered 404" in caught.value.message
    assert "a file of another machine" in caught.value.message
    assert "secret" not in caught.value.message


def test_a_download_that_is_given_up_leaves_nothing_behind(tmp_path: Path) -> None:
    given_up = threading.Event()
    given_up.set()
    with pytest.raises(KeyboardInterrupt):
        bring(tmp_path / "x.bin", lambda address: needed(f"{address}/right"), given_up)
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
