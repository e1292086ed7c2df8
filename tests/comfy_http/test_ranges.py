"""Any part of a file is read, and only from where it is."""

from __future__ import annotations

import contextlib
import datetime
import email.utils
from collections.abc import Callable, Iterator

import pytest

from comfy_errors import UnavailableError
from comfy_http.client import HttpClient
from comfy_http.errors import StatusError, TransientError
from comfy_http.ranges import HttpStream, Location, RangeReader, asked_wait_s, open_range
from comfy_http.settings import NetworkSettings
from tests.http_server import Answer, Request, cut, ranged, redirect, serve

_CONTENT = bytes(range(256)) * 1000
_TAG = '"first"'


def _client() -> HttpClient:
    return HttpClient(settings=NetworkSettings(timeout_s=0.5), remedy="Try again later.", retries=0)


def _open(
    url: str, start: int = 0, end: int | None = None, validator: str | None = None
) -> HttpStream:
    client = _client()
    return open_range(
        client, client.session(), Location(url=url), start=start, end=end, validator=validator
    )


def _read(stream: HttpStream) -> bytes:
    with contextlib.closing(stream):
        return b"".join(iter(lambda: stream.read(65536), b""))


@pytest.fixture
def asked() -> list[Request]:
    return []


@pytest.fixture
def url(asked: list[Request]) -> Iterator[str]:
    def answer(request: Request) -> Answer:
        asked.append(request)
        return ranged(request, _CONTENT, etag=_TAG)

    with serve(answering=answer) as url:
        yield f"{url}/model.safetensors"


def test_a_whole_file_and_any_part_of_it_are_read(url: str) -> None:
    whole = _open(url)
    assert (whole.start, whole.size, whole.validator) == (0, len(_CONTENT), _TAG)
    assert _read(whole) == _CONTENT
    part = _open(url, 1000, 2000)
    assert (part.start, part.size, part.validator) == (1000, len(_CONTENT), _TAG)
    assert _read(part) == _CONTENT[1000:2000]
    assert _read(_open(url, 255_000)) == _CONTENT[255_000:]


def test_a_part_of_another_file_is_not_read(url: str) -> None:
    assert _read(_open(url, 1000, validator=_TAG)) == _CONTENT[1000:]
    stream = _open(url, 1000, validator='"second"')
    assert stream.start == 0
    assert _read(stream) == _CONTENT


def test_the_file_itself_is_asked_for_not_a_compressed_one(url: str, asked: list[Request]) -> None:
    _read(_open(url))
    assert asked[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    "headers",
    [{"Content-Range": "bytes 0-9/10"}, {"Content-Range": "bytes */10"}, {}],
)
def test_another_part_than_the_one_asked_for_is_not_taken_for_it(headers: dict[str, str]) -> None:
    answer = Answer(status=206, headers=headers, body=b"0123456789")
    with (
        serve(answering=lambda _: answer) as url,
        pytest.raises(TransientError, match="sends another part of the file"),
    ):
        _open(url, 5)


def test_a_size_that_is_no_number_of_bytes_is_not_told() -> None:
    headers = {"Content-Length": "9" * 5000}
    with serve(answering=lambda _: Answer(headers=headers)) as url:
        assert _open(url).size is None


def test_a_weak_tag_guarantees_nothing() -> None:
    with serve(answering=lambda _: Answer(headers={"ETag": 'W/"a"'})) as url:
        assert _open(url).validator is None


def test_a_connection_that_breaks_or_falls_silent_may_be_tried_again() -> None:
    for answer in (cut(_CONTENT, 1000), cut(_CONTENT, 1000, stalls=True)):
        with serve(answering=lambda _, answer=answer: answer) as url:  # type: ignore[misc]
            stream = _open(url)
            with pytest.raises(TransientError, match=f"{url}.* could not be read"):
                _read(stream)
    # Nothing listens there any more.
    with pytest.raises(TransientError, match="could not be read"):
        _open(url)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_server_in_trouble_may_be_asked_again(status: int) -> None:
    with (
        serve(answering=lambda _: Answer(status=status)) as url,
        pytest.raises(TransientError, match=f"it answered {status}"),
    ):
        _open(url)


def test_an_address_that_is_none_is_out_of_reach() -> None:
    with pytest.raises(UnavailableError) as caught:
        _open("http://[::1/x")
    assert not isinstance(caught.value, TransientError)


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"RateLimit": '"resolvers";r=0;t=55'}, 55.0),
        ({"RateLimit": '"resolvers";r=3;t=55'}, None),
        ({"Retry-After": "soon"}, None),
        ({}, None),
    ],
)
def test_what_a_server_asks_to_wait_is_understood(
    headers: dict[str, str], wait_s: float | None
) -> None:
    assert asked_wait_s(headers) == wait_s


def test_a_date_to_wait_for_is_understood() -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=30)
    wait_s = asked_wait_s({"Retry-After": email.utils.format_datetime(soon, usegmt=True)})
    assert wait_s == pytest.approx(30, abs=2)
    assert asked_wait_s({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0


@contextlib.contextmanager
def _signing(valid: Callable[[str], bool], asked: list[Request]) -> Iterator[str]:
    """A server that leads to numbered addresses on another, where only some are valid."""
    given: list[str] = []

    def sign(request: Request) -> Answer:
        asked.append(request)
        given.append(f"{storage}/{len(given)}")
        return redirect(given[-1])

    def serve_file(request: Request) -> Answer:
        asked.append(request)
        if not valid(request.path):
            return Answer(status=403)
        return ranged(request, _CONTENT, etag=_TAG)

    with serve(answering=serve_file) as storage, serve(answering=sign) as url:
        yield url


def _reader(url: str) -> RangeReader:
    client = _client()
    location = Location(url=url, headers={"Authorization": "Bearer secret"}, uses_netrc=False)
    return RangeReader(client, client.session(), lambda: location)


def test_the_address_behind_a_redirect_is_remembered_until_it_has_expired(
    asked: list[Request],
) -> None:
    valid = {"/0"}
    with _signing(lambda path: path in valid, asked) as url:
        reader = _reader(f"{url}/file")
        assert _read(reader.open(0, 1000)) == _CONTENT[:1000]
        assert _read(reader.open(1000, 2000)) == _CONTENT[1000:2000]
        assert [it.path for it in asked] == ["/file", "/0", "/0"]
        valid.symmetric_difference_update({"/0", "/1"})
        assert _read(reader.open(2000, 3000)) == _CONTENT[2000:3000]
        assert [it.path for it in asked[3:]] == ["/0", "/file", "/1"]
    tokens = {it.path: it.headers["Authorization"] for it in asked}
    assert tokens == {"/file": "Bearer secret", "/0": None, "/1": None}


def test_a_refusal_is_not_taken_for_an_expired_address(asked: list[Request]) -> None:
    with _signing(lambda _: False, asked) as url:
        reader = _reader(f"{url}/file")
        with pytest.raises(StatusError, match="it answered 403"):
            reader.open(0, None)
    assert len(asked) == 2


def test_a_wait_of_any_length_is_a_number() -> None:
    assert asked_wait_s({"Retry-After": "9" * 400}) == 1e9
    assert asked_wait_s({"RateLimit": f'"api";r=0;t={"9" * 400}'}) == 1e9
