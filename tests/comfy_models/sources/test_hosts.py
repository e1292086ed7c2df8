"""Questions to hosts: how long they may be silent, and what is said meanwhile."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from comfy_errors import InvalidInputError
from comfy_files.parallel import in_parallel
from comfy_http.errors import SilenceError
from comfy_models.sources.hosts import Hosts
from comfy_models.sources.kinds import asked, source_for
from tests.comfy_models.sources.reached import hosts_with


@dataclass(frozen=True, kw_only=True)
class Silent:
    """A server that takes connections and never answers."""

    url: str
    listening: socket.socket

    def connections(self) -> int:
        """How many were made."""
        self.listening.setblocking(False)
        count = 0
        while True:
            try:
                self.listening.accept()[0].close()
            except BlockingIOError:
                return count
            count += 1


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Silent]:
    monkeypatch.setattr("comfy_models.sources.hosts._SILENCE_OF_ANSWERS_S", 0.4)
    monkeypatch.setattr("comfy_files.progress.SLOW_S", 0.1)
    monkeypatch.setattr("comfy_http.retries._FIRST_WAIT_S", 0.01)
    with socket.create_server(("127.0.0.1", 0), backlog=20) as listening:
        yield Silent(url=f"http://127.0.0.1:{listening.getsockname()[1]}", listening=listening)


def _silence(url: str, hosts: Hosts) -> str:
    with pytest.raises(SilenceError) as caught:
        asked(url, hosts)
    return caught.value.message


@pytest.mark.parametrize(
    ("url", "variable"),
    [
        ("{}/x", "UNUSED"),
        ("hf://org/repo/x", "HF_ENDPOINT"),
        ("civitai://2", "CIVITAI_ENDPOINT"),
        ("gs://a/x", "STORAGE_EMULATOR_HOST"),
    ],
)
def test_a_host_that_does_not_answer_is_asked_twice(
    silent: Silent, tmp_path: Path, url: str, variable: str
) -> None:
    hosts = hosts_with(tmp_path, {variable: silent.url})
    assert _silence(url.format(silent.url), hosts).endswith("it sent nothing for 0.4 s")
    assert silent.connections() == 2


def test_a_long_wait_is_said_once_for_each_host(silent: Silent, tmp_path: Path) -> None:
    said: list[str] = []
    hosts = hosts_with(tmp_path, {}, say=said.append)
    in_parallel(lambda name: _silence(f"{silent.url}/{name}", hosts), ["a", "b", "c"])
    again = "127.0.0.1 sent nothing for 0.4 s; trying again"
    assert said == ["Waiting for 127.0.0.1", again, again, again]


def test_an_answer_may_take_less_long_than_a_download(tmp_path: Path) -> None:
    assert hosts_with(tmp_path, {}).asking.timeout_s == 10
    assert hosts_with(tmp_path, {}, timeout_s=120).asking.timeout_s == 30


@pytest.mark.parametrize(
    ("variable", "url"), [("HF_TOKEN", "hf://org/repo/x"), ("CIVITAI_TOKEN", "civitai://2")]
)
def test_a_token_that_cannot_be_sent_is_refused_by_its_variable(
    tmp_path: Path, variable: str, url: str
) -> None:
    with pytest.raises(InvalidInputError, match=f"{variable} has a token with a line") as caught:
        source_for(url, hosts_with(tmp_path, {variable: "secret\n other"}))
    assert "secret" not in caught.value.in_words()


@pytest.mark.parametrize(
    ("variable", "url"),
    [
        ("HF_ENDPOINT", "hf://org/repo/x"),
        ("CIVITAI_ENDPOINT", "civitai://2"),
        ("STORAGE_EMULATOR_HOST", "gs://a/x"),
        ("AWS_ENDPOINT_URL_S3", "s3://a/x"),
        ("AWS_ENDPOINT_URL", "s3://a/x"),
    ],
)
@pytest.mark.parametrize("place", ["ftp://me:secret@host", "http://a b", "http://"])
def test_an_endpoint_that_is_no_address_is_refused_by_its_variable(
    tmp_path: Path, variable: str, url: str, place: str
) -> None:
    with pytest.raises(InvalidInputError, match=f"{variable} is '.*', which is not an") as caught:
        asked(url, hosts_with(tmp_path, {variable: place}))
    assert "secret" not in caught.value.in_words()
