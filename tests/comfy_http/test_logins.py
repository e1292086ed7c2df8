"""A ~/.netrc that cannot be read is one warning, and never keeps a request from being sent."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from comfy_http.client import HttpClient
from comfy_http.logins import LoginsWarning, faults_said, login_for
from comfy_http.settings import NetworkSettings
from tests.http_server import Answer, Request, redirect, serve
from tests.ordinary_user import as_ordinary_user, users_folder

place = pytest.fixture(users_folder)

_CORRECT = "Write each as: machine HOST login USER password PASSWORD"


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(path))
    return path


@pytest.fixture
def said() -> Iterator[list[str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        sentences: list[str] = []
        with faults_said(sentences.append):
            yield sentences


def _get(*urls: str) -> None:
    client = HttpClient(settings=NetworkSettings(), remedy="", retries=0)
    with client.session() as session, ThreadPoolExecutor() as threads:
        for response in threads.map(lambda url: client.send(session, "GET", url), urls):
            assert response.status_code == 200


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"machine a login me\npassword one two\n", "{} cannot be understood near line 3,"),
        (b"two\n", "{} cannot be understood near line 2,"),
        (b"machine a login me password \xff\n", "{} is not text in UTF-8,"),
        (None, "The logins cannot be read, so none is used: is a directory: {}"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_warning_without_its_content(
    netrc: Path, said: list[str], content: bytes | None, fault: str
) -> None:
    if content is None:
        netrc.mkdir()
    else:
        netrc.write_bytes(content)
    asked: list[Request] = []

    def answer(request: Request) -> Answer:
        asked.append(request)
        return Answer()

    with serve(answering=answer) as url:
        _get(*[url.replace("//", "//me:secret@")] * 8)
    # The login of the URL itself is used.
    assert [request.login for request in asked] == ["me:secret"] * 8
    (sentence,) = said
    assert sentence.startswith(f"Warning: {fault.format(netrc)}")
    assert sentence.endswith(f"\n  → {_CORRECT}") or content is None
    assert "two" not in sentence


def test_a_redirect_to_another_host_does_not_need_the_file(netrc: Path, said: list[str]) -> None:
    netrc.write_bytes(b"machine a login me password \xff\n")
    asked: list[Request] = []

    def elsewhere(request: Request) -> Answer:
        asked.append(request)
        return Answer()

    with serve(answering=elsewhere) as other, serve(answering=lambda _: redirect(other)) as url:
        _get(url.replace("//", "//me:secret@"))
    assert [request.login for request in asked] == [None]
    assert len(said) == 1


def test_a_file_that_may_not_be_read_is_a_warning(
    place: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    path = place / ".netrc"
    path.write_text("machine a login me password secret\n")
    monkeypatch.delenv("NETRC", raising=False)

    def ask() -> None:
        path.chmod(0)
        assert login_for("https://a/x") is None
        assert said == [
            f"Warning: The logins cannot be read, so none is used: permission denied: {path}\n"
            "  → Check the permissions there, then run the command again."
        ]

    as_ordinary_user(ask, place)


def test_a_file_that_can_be_read_or_is_not_there_gives_no_warning(
    netrc: Path, said: list[str]
) -> None:
    assert login_for("https://a/x") is None
    netrc.write_text("machine a login me password secret\n")
    assert login_for("https://a/x") == ("me", "secret")
    assert said == []


def test_other_warnings_are_left_as_they_are(said: list[str]) -> None:
    with warnings.catch_warnings(record=True) as others, faults_said(said.append):
        warnings.simplefilter("always")
        warnings.warn("something else", stacklevel=1)
        warnings.warn("the file", LoginsWarning, stacklevel=1)
    assert [str(other.message) for other in others] == ["something else"]
    assert said == ["Warning: the file"]
