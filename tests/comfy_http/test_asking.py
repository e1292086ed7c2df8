"""Questions to a server stay with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_errors import UnavailableError
from comfy_http.asking import Answer as Answered
from comfy_http.asking import ask
from comfy_http.client import HttpClient
from comfy_http.errors import StatusError, TransientError
from comfy_http.ranges import Location
from comfy_http.settings import NetworkSettings
from tests.http_server import Answer, Request, cut, redirect, serve

_HEADERS = {"Authorization": "Bearer secret"}


def _ask(url: str, method: str = "GET") -> Answered:
    client = HttpClient(settings=NetworkSettings(), remedy="Try again later.", retries=0)
    location = Location(url=url, headers=_HEADERS, uses_netrc=False)
    with client.session() as session:
        return ask(client, session, location, method=method)


def test_redirects_on_the_server_are_followed_with_the_headers() -> None:
    asked: list[Request] = []

    def answer(request: Request) -> Answer:
        asked.append(request)
        return redirect("/b") if request.path == "/a" else Answer(body=b"here")

    with serve(answering=answer) as url:
        found = _ask(f"{url}/a")
        assert (found.url, found.body, found.leads_to) == (f"{url}/b", b"here", None)
    assert [request.headers["Authorization"] for request in asked] == ["Bearer secret"] * 2


def test_a_redirect_to_another_server_is_the_answer() -> None:
    asked: list[Request] = []

    def elsewhere(request: Request) -> Answer:
        asked.append(request)
        return Answer()

    with serve(answering=elsewhere) as other:

        def answer(_request: Request) -> Answer:
            return Answer(status=302, headers={"Location": f"{other}/file", "X-Size": "3"})

        with serve(answering=answer) as url:
            found = _ask(url, "HEAD")
            assert (found.leads_to, found.headers["X-Size"]) == (f"{other}/file", "3")
    assert asked == []


def test_a_login_in_netrc_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("default login somebody password something\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    asked: list[Request] = []

    def answer(request: Request) -> Answer:
        asked.append(request)
        return Answer()

    with serve(answering=answer) as url:
        _ask(url)
    assert [request.headers["Authorization"] for request in asked] == ["Bearer secret"]


def test_redirects_without_an_end_are_given_up() -> None:
    with (
        serve(answering=lambda _: redirect("/again")) as url,
        pytest.raises(UnavailableError, match="redirects too often"),
    ):
        _ask(url)


@pytest.mark.parametrize("place", ["http://", "http://[::1/x"])
def test_a_redirect_to_nowhere_is_no_answer(place: str) -> None:
    with serve(answering=lambda _: redirect(place)) as url, pytest.raises(UnavailableError):
        _ask(url)


def test_a_redirect_that_cannot_be_decoded_is_no_answer() -> None:
    headers = {"Location": "/next", "Content-Encoding": "br"}
    answer = Answer(status=302, headers=headers, body=b"no brotli")
    with serve(answering=lambda _: answer) as url, pytest.raises(UnavailableError):
        _ask(url)


def test_a_refusal_has_the_words_of_the_server() -> None:
    answer = Answer(status=403, headers={"X-Why": "gated"}, body=b'{"error": "no"}')
    with serve(answering=lambda _: answer) as url, pytest.raises(StatusError) as caught:
        _ask(url)
    error = caught.value
    assert (error.status, error.headers["X-Why"], error.body) == (403, "gated", b'{"error": "no"}')


def test_a_server_that_asks_to_wait_is_obeyed_later() -> None:
    answer = Answer(status=429, headers={"RateLimit": '"api";r=0;t=55'})
    with serve(answering=lambda _: answer) as url, pytest.raises(TransientError) as caught:
        _ask(url)
    assert caught.value.wait_s == 55


def test_an_answer_that_breaks_off_may_be_asked_for_again() -> None:
    with serve(answering=lambda _: cut(b"x" * 1000, 10)) as url, pytest.raises(TransientError):
        _ask(url)


def test_an_answer_without_an_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("comfy_http.asking._LARGEST_BODY", 100)
    with (
        serve(answering=lambda _: Answer(body=b"x" * 101)) as url,
        pytest.raises(UnavailableError, match="answers with more than"),
    ):
        _ask(url)
