"""Why a server could not be read, as a person would say it."""

from __future__ import annotations

import pytest

from comfy_errors import UnavailableError
from comfy_http.client import HttpClient
from comfy_http.errors import SilenceError
from comfy_http.ranges import HttpStream, Location, open_range
from comfy_http.settings import NetworkSettings
from tests.http_server import Answer, Answering, cut, redirect, serve


def _failure(url: str) -> UnavailableError:
    client = HttpClient(settings=NetworkSettings(timeout_s=0.3), remedy="", retries=0)
    with pytest.raises(UnavailableError) as caught:
        _read(open_range(client, client.session(), Location(url=url)))
    return caught.value


def _read(stream: HttpStream) -> None:
    while stream.read(1000):
        pass


@pytest.mark.parametrize(
    ("answering", "reason"),
    [
        (lambda request: redirect(request.path), "it redirects too often"),
        (lambda _: redirect("file:///etc/passwd"), "it redirects to file:, which is not allowed"),
        (lambda _: cut(b"12345", 2, stalls=True), "it sent nothing for 0.3 s"),
        (lambda _: cut(b"12345", 2), "the connection broke"),
        (
            lambda _: Answer(status=429, headers={"Retry-After": "86400"}),
            "it answered 429 Too Many Requests, and asks to wait 24 h",
        ),
    ],
)
def test_the_reason_is_said_in_plain_words(answering: Answering, reason: str) -> None:
    with serve(answering=answering) as url:
        assert _failure(f"{url}/x").message == f"{url}/x could not be read: {reason}"


def test_a_server_that_is_not_there_refuses_the_connection() -> None:
    with serve() as url:
        pass
    reason = "no connection could be made (connection refused)"
    assert _failure(url).message == f"{url} could not be read: {reason}"


def test_a_silent_server_is_told_from_one_that_is_not_there() -> None:
    with serve(answering=lambda _: cut(b"12345", 2, stalls=True)) as url:
        error = _failure(url)
    assert isinstance(error, SilenceError)
    assert (error.host, error.silence_s) == ("127.0.0.1", 0.3)
    assert not isinstance(_failure(url), SilenceError)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_in_trouble_is_no_reason_to_check_the_network(status: int) -> None:
    with serve(answering=lambda _: Answer(status=status)) as url:
        assert _failure(url).remedy == "Try again later."
