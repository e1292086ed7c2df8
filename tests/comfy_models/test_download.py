from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_errors import OperationFailedError
from comfy_files.parallel import give_up_with
from comfy_home.manifest import ManifestModel
from comfy_models.download import download
from comfy_models.model_file import ModelSource
from tests.http_server import Answer, Request, cut, redirect, serve

BYTES = bytes(range(256)) * 20_000
SHA256 = hashlib.sha256(BYTES).hexdigest()
MIB = 1024 * 1024


def needed(*urls: str) -> ManifestModel:
    sources = [ModelSource(url=url) for url in urls]
    return ManifestModel(target_path="x.bin", sha256=SHA256, size=len(BYTES), sources=sources)


def answer(request: Request) -> Answer | None:
    """Files that are right, wrong, short, endless or elsewhere."""
    headers = request.headers
    port = headers["Host"].split(":")[1]
    if request.path == "/broken" and headers["If-Range"] == '"v1"':
        start = int(headers["Range"].removeprefix("bytes=").removesuffix("-"))
        span = {"Content-Range": f"bytes {start}-{len(BYTES) - 1}/{len(BYTES)}"}
        return Answer(status=206, headers=span, body=BYTES[start:])
    broken = cut(BYTES, 2 * MIB)
    return {
        "/right": Answer(body=BYTES),
        "/right?key=secret": Answer(body=BYTES),
        "/wrong": Answer(body=BYTES[:-1] + b"!"),
        "/page": Answer(body=b"<html>Please log in</html>"),
        "/moved": redirect("/right?key=secret"),
        "/elsewhere": redirect(f"http://localhost:{port}/right"),
        "/without-length": Answer(headers={"Connection": "close"}, body=BYTES[:1000]),
        "/cut": cut(BYTES, 1000),
        "/broken": replace(broken, headers={**broken.headers, "ETag": '"v1"'}),
        "/stalled": cut(BYTES, 1000, stalls=True),
    }.get(request.path)


def bring(
    place: Path,
    model_of: Callable[[str], ManifestModel],
    given_up: threading.Event | None = None,
) -> list[Request]:
    """Downloads the model that `model_of` makes of an address; gives what the server was asked."""
    heard: list[Request] = []

    def answering(request: Request) -> Answer | None:
        heard.append(request)
        return answer(request)

    def work(url: str) -> None:
        give_up_with(given_up or threading.Event())
        download(model_of(url), place)

    with serve(None, answering) as url, ThreadPoolExecutor() as pool:
        pool.submit(work, url).result()
    return heard


@pytest.mark.parametrize("name", ["right", "moved"])
def test_the_bytes_arrive_at_their_final_name(tmp_path: Path, name: str) -> None:
    place = tmp_path / "vae/x.bin"
    bring(place, lambda address: needed(f"{address}/{name}"))
    assert place.read_bytes() == BYTES
    assert list(place.parent.iterdir()) == [place]


def test_a_broken_connection_is_taken_up_from_the_last_byte(tmp_path: Path) -> None:
    requests = bring(tmp_path / "x.bin", lambda address: needed(f"{address}/broken"))
    assert (tmp_path / "x.bin").read_bytes() == BYTES
    assert [request.headers["Range"] for request in requests] == [None, f"bytes={2 * MIB}-"]


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

    requests = bring(tmp_path / "x.bin", model_of)
    asked = [(request.path, request.login) for request in requests]
    assert asked == [("/elsewhere", "me:token"), ("/right", None)]


def test_a_mirror_is_asked_when_the_source_fails(tmp_path: Path) -> None:
    bring(tmp_path / "x.bin", lambda address: needed("hf://org/name/x", f"{address}/right"))
    assert (tmp_path / "x.bin").read_bytes() == BYTES


def test_every_address_is_reported_with_its_reason_and_without_its_secrets(tmp_path: Path) -> None:
    with pytest.raises(OperationFailedError) as caught:
        bring(
            tmp_path / "x.bin",
            lambda address: needed("civitai://1?token=secret", f"{address}/none?key=secret", "x"),
        )
    assert "civitai://1?token=*** cannot be downloaded at start" in caught.value.message
    assert "/none?key=*** could not be read: it answered 404" in caught.value.message
    assert "a file on another machine" in caught.value.message
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
