"""Downloads into a models folder over HTTP, from servers that do what they should not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_errors import ComfyError
from comfy_home.manifest import ManifestModel
from comfy_http.client import HttpClient
from comfy_http.settings import NetworkSettings
from comfy_models.model_file import ModelSource
from comfy_models.sources.hosts import hosts_for
from comfy_models.transfer.fetch import fetch_to
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
        first, _, last = headers["Range"].removeprefix("bytes=").partition("-")
        start, end = int(first), int(last or len(BYTES) - 1) + 1
        span = {"Content-Range": f"bytes {start}-{end - 1}/{len(BYTES)}"}
        return Answer(status=206, headers=span, body=BYTES[start:end])
    broken = cut(BYTES, 2 * MIB)
    return {
        "/right": Answer(body=BYTES),
        "/other": Answer(body=BYTES),
        "/wrong": Answer(body=BYTES[:-1] + b"!"),
        "/page": Answer(body=b"<html>Please log in</html>"),
        "/moved": redirect("/other"),
        "/elsewhere": redirect(f"http://localhost:{port}/right"),
        "/without-length": Answer(headers={"Connection": "close"}, body=BYTES[:1000]),
        "/cut": cut(BYTES, 1000),
        "/broken": replace(broken, headers={**broken.headers, "ETag": '"v1"'}),
        "/stalled": cut(BYTES, 1000, stalls=True),
    }.get(request.path)


def bring(
    place: Path, model_of: Callable[[str], ManifestModel], timeout_s: float | None = None
) -> list[Request]:
    """Downloads the model that `model_of` makes of an address; gives what the server was asked."""
    heard: list[Request] = []

    def answering(request: Request) -> Answer | None:
        heard.append(request)
        return answer(request)

    client = HttpClient(settings=NetworkSettings(), remedy="")
    hosts = hosts_for(client, Path("/nowhere"), {}, timeout_s=timeout_s)
    with serve(None, answering) as url:
        fetch_to([(model_of(url), place)], hosts)
    return heard


@pytest.mark.parametrize("name", ["right", "moved"])
def test_the_bytes_arrive_at_their_final_name(tmp_path: Path, name: str) -> None:
    place = tmp_path / "vae/x.bin"
    bring(place, lambda address: needed(f"{address}/{name}"))
    assert place.read_bytes() == BYTES
    assert list(place.parent.iterdir()) == [place]


def test_a_broken_connection_is_taken_up_from_the_last_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_models.transfer.delivery.PART_BYTES", 16 * MIB)
    requests = bring(tmp_path / "x.bin", lambda address: needed(f"{address}/broken"))
    assert (tmp_path / "x.bin").read_bytes() == BYTES
    assert [request.headers["Range"] for request in requests] == [None, f"bytes={2 * MIB}-"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("wrong", "has sha256"),
        ("page", "is a web page, not a model"),
        ("without-length", "/without-length "),
        ("cut", "/cut "),
        ("stalled", "/stalled "),
        ("none", "could not be read: it answered 404"),
    ],
)
def test_other_bytes_never_get_the_final_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    monkeypatch.setattr("comfy_http.retries._FIRST_WAIT_S", 0.01)
    with pytest.raises(ComfyError, match=reason):
        bring(tmp_path / "x.bin", lambda address: needed(f"{address}/{name}"), timeout_s=0.3)
    assert not (tmp_path / "x.bin").exists()


def test_a_login_is_not_sent_to_the_host_that_a_redirect_leads_to(tmp_path: Path) -> None:
    def model_of(address: str) -> ManifestModel:
        return needed(f"{address.replace('//', '//me:token@')}/elsewhere")

    requests = bring(tmp_path / "x.bin", model_of)
    asked = {(request.path, request.login) for request in requests}
    assert asked == {("/elsewhere", "me:token"), ("/right", None)}
