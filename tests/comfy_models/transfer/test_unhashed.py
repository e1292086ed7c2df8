"""Models whose sha256 nobody knows before they are downloaded."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_errors import MismatchError
from comfy_files.parallel import give_up_with
from comfy_models.model_file import ModelSource
from comfy_models.sources.hosts import Hosts
from comfy_models.store import ModelStore
from comfy_models.transfer.unhashed import fetch_unhashed
from tests.http_server import Answer, Request
from tests.model_downloads import CONTENT, MIB, SHA256, Served, files_in, serving


def _fetch(store: ModelStore, hosts: Hosts, url: str) -> tuple[str, int]:
    return fetch_unhashed(ModelSource(url=url), store, hosts, target_path="vae/x.bin")


def _interrupt(store: ModelStore, hosts: Hosts, url: str, served: Served) -> None:
    """Begins a download and gives it up halfway."""
    given_up = threading.Event()
    served.rate = 3 * MIB

    def work() -> None:
        give_up_with(given_up)
        with pytest.raises(KeyboardInterrupt):
            _fetch(store, hosts, url)

    thread = threading.Thread(target=work)
    thread.start()
    while served.sent_bytes < 3 * MIB:
        thread.join(0.02)
    given_up.set()
    thread.join()
    served.rate = None


def test_the_sha256_and_the_size_are_learnt_from_the_download(
    store: ModelStore, hosts: Hosts
) -> None:
    learnt: dict[Path, str] = {}
    with serving(x=Served()) as url:
        one = ModelSource(url=f"{url}/x")
        found = fetch_unhashed(
            one, store, hosts, target_path="vae/x.bin", remember=learnt.__setitem__
        )
    assert found == (SHA256, len(CONTENT))
    assert learnt == {store.path_of(SHA256): SHA256}
    assert store.path_of(SHA256).read_bytes() == CONTENT
    assert store.path_of(SHA256).stat().st_mode & 0o777 == 0o444


def test_a_file_that_is_still_the_same_is_not_downloaded_again(
    store: ModelStore, hosts: Hosts
) -> None:
    with serving(x=(served := Served())) as url:
        first = _fetch(store, hosts, f"{url}/x")
        sent = served.sent_bytes
        assert _fetch(store, hosts, f"{url}/x") == first
    assert served.sent_bytes < sent + 1000


def test_a_download_goes_on_if_the_file_is_still_the_same(store: ModelStore, hosts: Hosts) -> None:
    with serving(x=(served := Served())) as url:
        _interrupt(store, hosts, f"{url}/x", served)
        assert _fetch(store, hosts, f"{url}/x") == (SHA256, len(CONTENT))
    assert served.sent_bytes <= 1.3 * len(CONTENT)


@pytest.mark.parametrize("etag", ['"2"', 'W/"1"'])
def test_a_download_starts_over_if_the_file_may_be_another_one(
    store: ModelStore, hosts: Hosts, etag: str
) -> None:
    served = Served(content=bytes(len(CONTENT)))
    with serving(x=served) as url:
        _interrupt(store, hosts, f"{url}/x", served)
        served.content, served.etag = CONTENT, etag
        assert _fetch(store, hosts, f"{url}/x") == (SHA256, len(CONTENT))
    assert store.path_of(SHA256).read_bytes() == CONTENT


def test_a_file_of_this_machine_is_hashed_while_it_is_copied(
    store: ModelStore, hosts: Hosts, tmp_path: Path
) -> None:
    (tmp_path / "x.bin").write_bytes(CONTENT)
    assert _fetch(store, hosts, "x.bin") == (SHA256, len(CONTENT))


def test_a_file_of_unknown_size_is_read_to_its_end(store: ModelStore, hosts: Hosts) -> None:
    def hide(_request: Request, answer: Answer, _number: int) -> Answer:
        chunked = {"Transfer-Encoding": "chunked"}
        return replace(answer, status=200, headers=chunked, body=CONTENT)

    with serving(x=Served(fault=hide)) as url:
        assert _fetch(store, hosts, f"{url}/x") == (SHA256, len(CONTENT))


def test_nothing_is_stored_when_the_source_sends_a_page(store: ModelStore, hosts: Hosts) -> None:
    page = Served(content=b"<!DOCTYPE html><html>Please log in</html>")
    with serving(x=page) as url, pytest.raises(MismatchError, match="/x is a web page"):
        _fetch(store, hosts, f"{url}/x")
    assert files_in(store.root) == []


def test_an_empty_file_is_no_model(store: ModelStore, hosts: Hosts) -> None:
    with (
        serving(x=Served(content=b"")) as url,
        pytest.raises(MismatchError, match="is empty"),
    ):
        fetch_unhashed(ModelSource(url=f"{url}/x"), store, hosts, target_path="vae/x.safetensors")
    assert not list(store.root.rglob("*.partial"))
