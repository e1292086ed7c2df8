from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from comfy_errors import MismatchError, OperationFailedError, UnavailableError
from comfy_files.parallel import give_up_with
from comfy_files.progress import Progress
from comfy_models.sources.hosts import Hosts
from comfy_models.store import ModelStore
from comfy_models.transfer.fetch import fetch, fetch_to
from tests.http_server import Answer, Request
from tests.model_downloads import (
    CONTENT,
    IN_FLIGHT,
    MIB,
    SHA256,
    Model,
    Served,
    cut_after,
    files_in,
    model_at,
    serving,
)
from tests.safetensors_bytes import safetensors

PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"


def _is_stored(store: ModelStore) -> bool:
    """True if the store has the file, and nothing else."""
    place = store.path_of(SHA256)
    return files_in(store.root) == [place] and place.read_bytes() == CONTENT


def _start(request: Request) -> int:
    """The first byte that is asked for."""
    return int((request.headers["Range"] or "bytes=0-")[6:].split("-")[0])


def test_a_file_of_this_machine_is_stored_read_only(
    store: ModelStore, hosts: Hosts, tmp_path: Path
) -> None:
    (tmp_path / "x.bin").write_bytes(CONTENT)
    fetch([model_at("x.bin")], store, hosts)
    assert _is_stored(store)
    assert store.path_of(SHA256).stat().st_mode & 0o777 == 0o444


def test_a_file_of_a_web_server_is_stored(store: ModelStore, hosts: Hosts) -> None:
    with serving(x=(served := Served())) as url:
        fetch([model_at(f"{url}/x")], store, hosts)
        # What is there is not asked for.
        requests = len(served.requests)
        fetch([model_at(f"{url}/x")], store, hosts)
        assert len(served.requests) == requests
    assert _is_stored(store)


def test_a_file_that_two_models_share_is_downloaded_once(store: ModelStore, hosts: Hosts) -> None:
    said: list[str] = []
    with serving(x=(served := Served())) as url:
        model = model_at(f"{url}/x")
        fetch([model, replace(model, target_path="vae/y.bin")], store, hosts, say=said.append)
    assert _is_stored(store)
    assert served.sent_bytes <= len(CONTENT) + IN_FLIGHT
    assert said == []


def test_a_file_that_two_models_share_comes_from_the_sources_of_either(
    store: ModelStore, hosts: Hosts
) -> None:
    gone = Served(fault=lambda _request, answer, _number: replace(answer, status=404))
    for order in (slice(None), slice(None, None, -1)):
        with serving(x=gone, y=Served()) as url:
            models = [model_at(f"{url}/x"), replace(model_at(f"{url}/y"), target_path="vae/y.bin")]
            fetch(models[order], store, hosts)
        assert _is_stored(store)
        store.path_of(SHA256).unlink()
    failed: list[tuple[str, str]] = []
    with serving(x=gone, y=gone) as url:
        models = [model_at(f"{url}/x"), replace(model_at(f"{url}/y"), target_path="vae/y.bin")]
        with pytest.raises(UnavailableError) as caught:
            fetch(models, store, hosts, failed=lambda it, why: failed.append((it.sha256, str(why))))
    assert "/x could not" in caught.value.message
    assert "/y could not" in caught.value.message
    assert failed == [(SHA256, caught.value.message)]


def test_a_file_is_written_outside_the_store(hosts: Hosts, tmp_path: Path) -> None:
    place = tmp_path / "models/vae/x.bin"
    with serving(x=Served()) as url:
        fetch_to([(model_at(f"{url}/x"), place)], hosts)
    assert place.read_bytes() == CONTENT
    assert files_in(tmp_path) == [place]


def test_whoever_asked_learns_the_sha256_without_reading_the_file_again(
    store: ModelStore, hosts: Hosts
) -> None:
    learnt: dict[Path, str] = {}
    with serving(x=Served()) as url:
        fetch([model_at(f"{url}/x")], store, hosts, remember=learnt.__setitem__)
    assert learnt == {store.path_of(SHA256): SHA256}


def test_a_slow_server_is_asked_for_several_parts_at_once(store: ModelStore, hosts: Hosts) -> None:
    with serving(x=(served := Served(rate=5 * MIB))) as url:
        fetch([model_at(f"{url}/x")], store, hosts)
    assert _is_stored(store)
    assert len(served.requests) > 3
    # Little of it is sent twice: what was under way as the first connection met the second.
    assert served.sent_bytes <= len(CONTENT) + IN_FLIGHT


def test_a_slow_machine_opens_no_further_connection(
    store: ModelStore, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_models.transfer.connections._ADD_EVERY_S", 0.4)

    class Slow(Progress):
        @contextmanager
        def file(self, *_: object, **_size: object) -> Iterator[Callable[[int], None]]:
            yield lambda _: time.sleep(0.03)

    content = CONTENT * 6
    model = replace(Model(), sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    with serving(x=(served := Served(content=content))) as url:
        model = replace(model, sources=model_at(f"{url}/x").sources)
        fetch([model], store, hosts, progress=Slow())
    assert store.holds(model.sha256)
    # There are 38 parts, and one connection asks for more and more of them.
    assert len(served.requests) == 7


def test_one_connection_is_used_for_more_and_more_at_a_time(
    store: ModelStore, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_models.transfer.connections._ADD_EVERY_S", 1000.0)
    content = CONTENT * 6
    model = replace(Model(), sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    with serving(x=(served := Served(content=content))) as url:
        fetch([replace(model, sources=model_at(f"{url}/x").sources)], store, hosts)
    assert store.holds(model.sha256)
    # There are 38 parts.
    assert len(served.requests) == 7
    assert served.sent_bytes == len(content)


def test_a_server_without_ranges_is_read_over_one_connection(
    store: ModelStore, hosts: Hosts
) -> None:
    def whole(_request: Request, answer: Answer, _number: int) -> Answer:
        return replace(answer, status=200, headers={}, body=CONTENT)

    with serving(x=(served := Served(fault=whole, rate=20 * MIB))) as url:
        fetch([model_at(f"{url}/x")], store, hosts)
    assert _is_stored(store)
    assert served.sent_bytes <= 2 * len(CONTENT)


def test_a_server_that_sends_another_range_than_asked_for_is_asked_for_all(
    store: ModelStore, hosts: Hosts
) -> None:
    def shifted(request: Request, answer: Answer, _number: int) -> Answer:
        if not request.headers["Range"]:
            return cut_after(answer, 2 * MIB) if _number == 0 else answer
        span = {"Content-Range": f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}"}
        return replace(answer, status=206, headers=span, body=CONTENT[5:])

    with serving(x=Served(fault=shifted)) as url:
        fetch([model_at(f"{url}/x")], store, hosts)
    assert _is_stored(store)


def test_a_server_that_lies_about_the_bytes_of_ranges_is_asked_for_all(
    store: ModelStore, hosts: Hosts
) -> None:
    def zeros(request: Request, answer: Answer, _number: int) -> Answer:
        if not request.headers["Range"]:
            return answer
        return replace(answer, body=bytes(len(answer.body)))

    with serving(x=Served(fault=zeros, rate=10 * MIB)) as url:
        fetch([model_at(f"{url}/x")], store, hosts)
    assert _is_stored(store)


def test_each_broken_connection_is_taken_up_where_it_broke(store: ModelStore, hosts: Hosts) -> None:
    def cut(_request: Request, answer: Answer, _number: int) -> Answer:
        return cut_after(answer, 700_000)

    with serving(x=(served := Served(fault=cut))) as url:
        fetch([model_at(f"{url}/x")], store, hosts)
    assert _is_stored(store)
    assert served.sent_bytes <= len(CONTENT) + IN_FLIGHT


def test_a_silent_connection_is_given_up_and_taken_up(store: ModelStore, hosts: Hosts) -> None:
    def stall(_request: Request, answer: Answer, number: int) -> Answer:
        return cut_after(answer, 300_000, stalls=True) if number == 0 else answer

    with serving(x=(served := Served(fault=stall))) as url:
        fetch([model_at(f"{url}/x")], store, hosts)
    assert _is_stored(store)
    assert served.sent_bytes <= len(CONTENT) + IN_FLIGHT


def test_a_server_that_stays_silent_is_given_up_and_each_further_try_is_said(
    store: ModelStore, hosts: Hosts
) -> None:
    def stall(_request: Request, answer: Answer, number: int) -> Answer:
        return cut_after(answer, 300_000 if number == 0 else 0, stalls=True)

    said: list[str] = []
    with (
        serving(x=(served := Served(fault=stall))) as url,
        pytest.raises(UnavailableError, match="it sent nothing for 0.5 s"),
    ):
        fetch([model_at(f"{url}/x")], store, hosts, say=said.append)
    assert set(said) == {"127.0.0.1 sent nothing for 0.5 s; trying again"}
    assert len(said) <= 2
    # Some are opened beside the first.
    assert len(served.requests) <= 6


def test_a_server_that_never_answers_properly_is_given_up(store: ModelStore, hosts: Hosts) -> None:
    def fail(_request: Request, answer: Answer, _number: int) -> Answer:
        return replace(answer, status=503)

    with (
        serving(x=(served := Served(fault=fail))) as url,
        pytest.raises(UnavailableError, match="model vae/x.bin: .*/x could not be read.* 503"),
    ):
        fetch([model_at(f"{url}/x")], store, hosts)
    assert len(served.requests) == 6
    assert files_in(store.root) == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_fails_for_a_while_is_asked_again(
    store: ModelStore, hosts: Hosts, status: int
) -> None:
    def fail(_request: Request, answer: Answer, number: int) -> Answer:
        if number == 0:
            return cut_after(answer, 2 * MIB)
        return Answer(status=status, body=PAGE) if number in (1, 2, 3) else answer

    with serving(x=(served := Served(fault=fail))) as url:
        fetch([model_at(f"{url}/x")], store, hosts)
    assert _is_stored(store)
    assert served.sent_bytes <= 1.3 * len(CONTENT)


def test_all_connections_wait_when_the_server_asks_one_to(
    store: ModelStore, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_http.retries._SAID_FROM_S", 1.0)
    refused, said = threading.Event(), list[str]()

    def ask_to_wait(_request: Request, answer: Answer, number: int) -> Answer:
        if number == 3:
            refused.set()
            return Answer(status=429, headers={"Retry-After": "1"})
        assert not refused.is_set() or is_over.is_set(), "a connection did not wait"
        return answer

    is_over = threading.Event()

    def start_clock() -> None:
        refused.wait()
        threading.Timer(0.9, is_over.set).start()

    threading.Thread(target=start_clock, daemon=True).start()
    with serving(x=(served := Served(fault=ask_to_wait, rate=4 * MIB))) as url:
        fetch([model_at(f"{url}/x")], store, hosts, say=said.append)
    assert _is_stored(store)
    assert len(served.requests) > 4
    assert said == ["127.0.0.1 asks to wait 1 s"]


def test_a_page_instead_of_a_model_is_refused_as_such_and_leaves_nothing(
    store: ModelStore, hosts: Hosts
) -> None:
    with (
        serving(x=Served(content=PAGE)) as url,
        pytest.raises(MismatchError, match=r"/x is (a web page|an HTML)"),
    ):
        fetch([model_at(f"{url}/x")], store, hosts)
    assert files_in(store.root) == []


def test_a_page_in_the_middle_costs_nothing_that_was_there(store: ModelStore, hosts: Hosts) -> None:
    def turn_away(request: Request, answer: Answer, _number: int) -> Answer:
        return answer if _start(request) < 3 * MIB else Answer(body=PAGE)

    turning_away, right = Served(fault=turn_away), Served()
    with serving(x=turning_away, y=right) as url:
        fetch([model_at(f"{url}/x", f"{url}/y")], store, hosts)
    assert _is_stored(store)
    assert right.sent_bytes <= len(CONTENT) - 2 * MIB


def test_a_file_that_changes_while_it_is_read_is_read_from_its_start(
    store: ModelStore, hosts: Hosts
) -> None:
    old = Served(content=bytes(len(CONTENT)), etag='"0"')

    def change(request: Request, answer: Answer, number: int) -> Answer:
        return cut_after(old.answer(request), 3 * MIB) if number == 0 else answer

    with serving(x=(served := Served(fault=change))) as url:
        fetch([model_at(f"{url}/x")], store, hosts)
    assert _is_stored(store)
    assert served.requests[1].headers["If-Range"] == '"0"'


def test_a_file_of_another_size_is_refused_before_it_is_read(
    store: ModelStore, hosts: Hosts
) -> None:
    with (
        serving(x=(served := Served(content=CONTENT * 5))) as url,
        pytest.raises(MismatchError, match=rf"/x has {5 * len(CONTENT)} bytes, not {len(CONTENT)}"),
    ):
        fetch([model_at(f"{url}/x")], store, hosts)
    assert served.sent_bytes < len(CONTENT) * 5
    assert files_in(store.root) == []


def test_a_file_of_this_machine_that_was_replaced_is_not_called_damaged(
    store: ModelStore, hosts: Hosts, tmp_path: Path
) -> None:
    (tmp_path / "x.safetensors").write_bytes(other := safetensors(CONTENT))
    model = replace(model_at("x.safetensors"), target_path="vae/x.safetensors")
    with pytest.raises(MismatchError) as caught:
        fetch([model], store, hosts)
    assert f"x.safetensors has {len(other)} bytes, not {len(CONTENT)}" in caught.value.message
    assert "correct 'checksum' in the spec" in caught.value.remedy


@pytest.mark.parametrize("framing", [{"Connection": "close"}, {"Transfer-Encoding": "chunked"}])
@pytest.mark.parametrize("size", [len(CONTENT), 1_000_000])
def test_a_server_may_not_tell_the_size(
    store: ModelStore, hosts: Hosts, framing: dict[str, str], size: int
) -> None:
    def hide(_request: Request, answer: Answer, _number: int) -> Answer:
        return replace(answer, status=200, headers=framing, body=CONTENT[:size])

    with serving(x=Served(fault=hide)) as url:
        if size == len(CONTENT):
            fetch([model_at(f"{url}/x")], store, hosts)
            assert _is_stored(store)
            return
        with pytest.raises(MismatchError, match=f"has {size} bytes, not {len(CONTENT)}"):
            fetch([model_at(f"{url}/x")], store, hosts)
    assert not store.holds(SHA256)


def test_a_mirror_is_asked_when_the_source_fails(store: ModelStore, hosts: Hosts) -> None:
    gone = Served(fault=lambda _request, answer, _number: replace(answer, status=404))
    with serving(x=gone, y=Served()) as url:
        fetch([model_at(f"{url}/x", f"{url}/y")], store, hosts)
    assert _is_stored(store)


def test_a_server_that_refuses_further_connections_is_read_over_those_it_likes(
    store: ModelStore, hosts: Hosts
) -> None:
    def refuse(_request: Request, answer: Answer, number: int) -> Answer:
        return replace(answer, status=403) if number in (2, 3) else answer

    with serving(x=Served(fault=refuse, rate=4 * MIB)) as url:
        fetch([model_at(f"{url}/x")], store, hosts)
    assert _is_stored(store)


def test_a_mirror_gives_only_what_the_source_did_not(
    store: ModelStore, hosts: Hosts, tmp_path: Path
) -> None:
    def die(request: Request, answer: Answer, _number: int) -> Answer:
        return answer if _start(request) < 5 * MIB else replace(answer, status=404)

    right = Served(etag='"another"')
    with serving(x=Served(fault=die), y=right) as url:
        fetch([model_at(f"{url}/x", f"{url}/y")], store, hosts)
    assert _is_stored(store)
    assert right.sent_bytes <= len(CONTENT) - 4 * MIB


def test_a_wrong_file_never_gets_its_final_name(store: ModelStore, hosts: Hosts) -> None:
    wrong = CONTENT[:-1] + b"!"
    found = hashlib.sha256(wrong).hexdigest()
    with (
        serving(x=(served := Served(content=wrong))) as url,
        pytest.raises(
            MismatchError, match=f"{url}/x has sha256 {found}, but {SHA256} was expected"
        ),
    ):
        fetch([model_at(f"{url}/x")], store, hosts)
    assert files_in(store.root) == []
    # The second time as a whole.
    assert served.ranges[-1] is None


def test_every_source_is_reported_with_its_reason_and_without_its_secrets(
    store: ModelStore, hosts: Hosts
) -> None:
    gone = Served(fault=lambda _request, answer, _number: replace(answer, status=404))
    with serving(x=gone, y=Served(content=PAGE)) as url, pytest.raises(MismatchError) as caught:
        fetch(
            [
                model_at(f"{url}/x".replace("//", "//me:secret@"), f"{url}/y"),
                Model(target_path="loras/lost.bin", sha256="0" * 64),
            ],
            store,
            hosts,
        )
    message = caught.value.in_words()
    assert "/x could not be read: it answered 404" in message
    assert "/y is " in message
    assert "loras/lost.bin" in message
    assert "secret" not in message


def test_a_download_that_was_interrupted_goes_on_from_what_is_on_the_disk(
    store: ModelStore, hosts: Hosts
) -> None:
    given_up, interrupted = threading.Event(), list[BaseException]()

    def stop(_request: Request, answer: Answer, number: int) -> Answer:
        if number == 0:
            threading.Timer(0.3, given_up.set).start()
        return answer

    served = Served(fault=stop, rate=3 * MIB)

    def work(url: str) -> None:
        give_up_with(given_up)
        try:
            fetch([model_at(f"{url}/x")], store, hosts)
        except KeyboardInterrupt as error:
            interrupted.append(error)

    with serving(x=served) as url:
        thread = threading.Thread(target=work, args=(url,))
        thread.start()
        thread.join()
        assert interrupted
        assert not store.holds(SHA256)
        fetch([model_at(f"{url}/x")], store, hosts)
    assert _is_stored(store)
    assert served.sent_bytes <= 1.15 * len(CONTENT)


def test_room_is_required_before_anything_is_asked_for(
    store: ModelStore, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(x=(served := Served())) as url:
        large = replace(model_at(f"{url}/x"), size=1 << 60)
        with pytest.raises(OperationFailedError, match="are needed below .*, but only"):
            fetch([large], store, hosts)
    assert served.requests == []
