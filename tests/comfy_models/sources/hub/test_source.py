"""Files of the Hub, read from its double."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from comfy_errors import InvalidInputError
from comfy_files.parallel import in_parallel
from comfy_http.errors import StatusError, TransientError
from comfy_models.model_file import Pin
from comfy_models.sources.errors import (
    AccessDeniedError,
    ChangedError,
    GoneError,
    NotAModelError,
)
from comfy_models.sources.kinds import source_for
from comfy_models.sources.source import HostFile, Source
from tests.comfy_models.sources.reached import drain, hosts_with, read
from tests.http_server import Answer, Request, serve
from tests.model_hosts.hub import OUTSIDER, TOKEN, HubDouble, hub

_WEIGHTS = bytes(range(256)) * 4000
_SHA256 = hashlib.sha256(_WEIGHTS).hexdigest()
_FILE = "hf://acme/up/x2/model.safetensors"


@pytest.fixture
def double() -> Iterator[HubDouble]:
    with hub() as it:
        it.publish("acme/up", {"x2/model.safetensors": _WEIGHTS, "config.json": b'{"layers": 4}'})
        yield it


class Reached:
    """The Hub's double, from a machine whose home is `folder`."""

    def __init__(self, double: HubDouble, folder: Path) -> None:
        self.double, self.folder = double, folder
        self.said: list[str] = []

    def source(
        self,
        url: str = _FILE,
        pin: Pin | None = None,
        *,
        token: str = "",
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> Source:
        own = {"HF_ENDPOINT": self.double.url, "HF_TOKEN": token, **variables}
        return source_for(url, hosts_with(self.folder, own, say=self.said.append), pin)


@pytest.fixture
def reached(double: HubDouble, tmp_path: Path) -> Reached:
    return Reached(double, tmp_path)


def test_one_question_pins_commit_hash_and_size(double: HubDouble, reached: Reached) -> None:
    commit = double.repos["acme/up"].branches["main"]
    assert reached.source().pin() == HostFile(
        size=len(_WEIGHTS),
        sha256=_SHA256,
        pin=Pin(commit=commit, etag=_SHA256),
        name="model.safetensors",
    )
    assert [request.method for request in double.asked] == ["HEAD"]
    assert double.storage.asked == []


def test_a_file_outside_lfs_is_pinned_by_gits_name_for_it(
    double: HubDouble, reached: Reached
) -> None:
    source = reached.source("hf://acme/up/config.json")
    told = source.pin()
    oid = hashlib.sha1(b'blob 13\0{"layers": 4}').hexdigest()
    assert (told.size, told.sha256, told.pin.etag) == (13, None, oid)
    assert read(source) == b'{"layers": 4}'
    assert read(source, 2, 8) == b"layers"


@pytest.mark.parametrize(
    "url",
    [
        _FILE,
        "huggingface://acme/up@main/x2/model.safetensors",
        "https://huggingface.co/acme/up/blob/main/x2/model.safetensors",
        "https://huggingface.co/acme/up/resolve/main/x2/model.safetensors?download=true",
        "{endpoint}/acme/up/raw/main/x2/model.safetensors",
    ],
)
def test_every_way_to_write_an_address_names_the_same_file(
    double: HubDouble, reached: Reached, url: str
) -> None:
    source = reached.source(url.format(endpoint=double.url))
    assert source.pin().sha256 == _SHA256
    assert read(source) == _WEIGHTS


def test_ranges_are_read_with_one_question_to_the_hub(double: HubDouble, reached: Reached) -> None:
    source = reached.source()
    assert read(source, 0, 1000) == _WEIGHTS[:1000]
    assert read(source, 1000, 5000) == _WEIGHTS[1000:5000]
    assert read(source, 5000) == _WEIGHTS[5000:]
    assert len(double.asked) == 1
    assert len(double.storage.asked) == 3


def test_the_token_is_sent_to_the_hub_and_to_nobody_else(
    double: HubDouble, reached: Reached
) -> None:
    source = reached.source(token=TOKEN)
    source.pin()
    assert read(source) == _WEIGHTS
    assert {request.headers["Authorization"] for request in double.asked} == {f"Bearer {TOKEN}"}
    assert [request.headers["Authorization"] for request in double.storage.asked] == [None]


def test_a_login_in_netrc_does_not_replace_the_token(
    double: HubDouble, reached: Reached, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = reached.folder / "netrc"
    netrc.write_text("default login somebody password something\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert read(reached.source(token=TOKEN)) == _WEIGHTS
    assert double.asked[-1].headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("place", "variables"),
    [
        (".cache/huggingface/token", {}),
        ("xdg/huggingface/token", {"XDG_CACHE_HOME": "{home}/xdg"}),
        ("own/token", {"HF_HOME": "{home}/own"}),
        ("tok", {"HF_TOKEN_PATH": "{home}/tok", "HF_HOME": "{home}/own"}),
    ],
)
def test_the_token_of_a_login_is_used(
    double: HubDouble, reached: Reached, place: str, variables: dict[str, str]
) -> None:
    double.publish("acme/private", {"a.safetensors": _WEIGHTS}, access="private")
    file = reached.folder / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{TOKEN}\n")
    set_here = {name: value.format(home=reached.folder) for name, value in variables.items()}
    assert read(reached.source("hf://acme/private/a.safetensors", variables=set_here)) == _WEIGHTS


def test_a_pinned_commit_is_read_after_the_branch_moved(
    double: HubDouble, reached: Reached
) -> None:
    pin = reached.source().pin().pin
    double.publish("acme/up", {"x2/model.safetensors": b"other"})
    assert reached.source().pin().size == 5
    assert read(reached.source(pin=pin)) == _WEIGHTS


def test_another_file_at_the_pinned_commit_is_refused(double: HubDouble, reached: Reached) -> None:
    pin = reached.source().pin().pin
    changed = pin.model_copy(update={"etag": "0" * 64})
    with pytest.raises(ChangedError, match="is not the file that was pinned any more"):
        read(reached.source(pin=changed))
    assert double.storage.asked == []


def test_a_commit_that_is_gone_is_said(double: HubDouble, reached: Reached) -> None:
    pin = reached.source().pin().pin
    del double.repos["acme/up"].commits[pin.commit or ""]
    with pytest.raises(GoneError, match="acme/up on the Hugging Face Hub has no revision"):
        read(reached.source(pin=pin))


def test_a_missing_file_and_a_missing_revision_are_said(reached: Reached) -> None:
    with pytest.raises(GoneError, match=r"acme/up .* has no x3\.safetensors at main"):
        reached.source("hf://acme/up/x3.safetensors").pin()
    with pytest.raises(GoneError, match="has no revision v9"):
        reached.source("hf://acme/up@v9/config.json").pin()


@pytest.mark.parametrize("access", ["gated", "private"])
def test_a_model_that_needs_a_token_names_the_variable(
    double: HubDouble, reached: Reached, access: str
) -> None:
    double.publish("acme/own", {"a.safetensors": _WEIGHTS}, access=access)  # type: ignore[arg-type]
    with pytest.raises(AccessDeniedError, match=rf"acme/own.* {access}") as caught:
        reached.source("hf://acme/own/a.safetensors").pin()
    assert "HF_TOKEN" in caught.value.remedy
    assert reached.source("hf://acme/own/a.safetensors", token=TOKEN).pin().sha256 == _SHA256


def test_a_token_without_access_is_not_shown(double: HubDouble, reached: Reached) -> None:
    double.publish("acme/gated", {"a.safetensors": _WEIGHTS}, access="gated")
    double.publish("acme/private", {"a.safetensors": _WEIGHTS}, access="private")
    with pytest.raises(AccessDeniedError, match="the token of HF_TOKEN has no access") as gated:
        reached.source("hf://acme/gated/a.safetensors", token=OUTSIDER).pin()
    with pytest.raises(GoneError, match="has no acme/private, or .* may not see it") as private:
        reached.source("hf://acme/private/a.safetensors", token=OUTSIDER).pin()
    with pytest.raises(AccessDeniedError, match="does not accept the token of HF_TOKEN") as invalid:
        reached.source(token="hf_mistyped").pin()
    for caught in (gated, private, invalid):
        assert "hf_" not in caught.value.in_words()


def test_a_renamed_repository_is_read_and_its_new_name_told(
    double: HubDouble, reached: Reached
) -> None:
    double.moved["old/name"] = "acme/up"
    for file in ("x2/model.safetensors", "config.json"):
        source = reached.source(f"hf://old/name/{file}", token=TOKEN)
        assert source.pin().moved_to == f"hf://acme/up/{file}"
        assert read(source)
    assert reached.source().pin().moved_to is None


def test_an_expired_address_is_asked_for_again_in_the_middle_of_a_file(
    double: HubDouble, reached: Reached
) -> None:
    source = reached.source(token=TOKEN)
    with contextlib.closing(source.open(0, None)) as stream:
        head, validator = stream.read(1000), stream.validator
    double.storage.expire()
    assert head + read(source, len(head), validator=validator) == _WEIGHTS
    assert len(double.asked) == 2
    assert not any(request.headers["Authorization"] for request in double.storage.asked)


def test_many_connections_ask_for_an_address_once(double: HubDouble, reached: Reached) -> None:
    source = reached.source()
    spans = [(start, start + 1000) for start in range(0, 16_000, 1000)]
    for questions in (1, 2):
        parts = in_parallel(lambda span: read(source, *span), spans, threads=16)
        assert b"".join(parts) == _WEIGHTS[:16_000]
        assert len(double.asked) == questions
        double.storage.expire()


def test_an_address_that_is_refused_at_once_is_not_asked_for_again_and_again(
    double: HubDouble, reached: Reached
) -> None:
    double.storage.lifetime_s = -1.0
    with pytest.raises(StatusError, match=f"^{_FILE} could not be read: it answered 403"):
        reached.source().open(0, None)
    assert len(double.asked) == 1


def test_a_broken_connection_can_be_resumed(double: HubDouble, reached: Reached) -> None:
    double.storage.cuts = [1000]
    source = reached.source()
    got = bytearray()
    with contextlib.closing(source.open(0, None)) as stream:
        with pytest.raises(TransientError):
            drain(stream, got)
        validator = stream.validator
    assert got == _WEIGHTS[: len(got)]
    assert got + read(source, len(got), validator=validator) == _WEIGHTS


def test_a_stream_of_another_file_starts_at_its_beginning(reached: Reached) -> None:
    with contextlib.closing(reached.source().open(1000, None, validator="of another")) as stream:
        assert stream.start == 0
        assert stream.validator == _SHA256


def test_a_file_of_another_size_than_promised_is_refused(
    double: HubDouble, reached: Reached
) -> None:
    double.storage.put(_SHA256, _WEIGHTS[:-1])
    with pytest.raises(ChangedError, match="has 1023999 bytes, but the Hub promises 1024000"):
        reached.source().open(0, None)


def test_the_hubs_rate_limit_is_obeyed(double: HubDouble, reached: Reached) -> None:
    double.allowed["resolvers"], double.window_s = 1, 0.6
    source = reached.source()
    for _ in range(3):
        assert source.pin().sha256 == _SHA256
    # Asking earlier than the Hub said would have been refused again.
    assert len(double.asked) == 5


def test_a_long_wait_is_said(
    double: HubDouble, reached: Reached, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_http.retries._SAID_FROM_S", 1.0)
    double.allowed["resolvers"], double.window_s = 1, 0.5
    source = reached.source()
    source.pin()
    source.pin()
    assert reached.said == ["127.0.0.1 asks to wait 1 s"]


def test_a_server_that_is_not_the_hub_is_recognized(tmp_path: Path) -> None:
    def answer(_request: Request) -> Answer:
        return Answer(headers={"Content-Type": "text/html"}, body=b"<html>Welcome</html>")

    with serve(answering=answer) as url:
        source = source_for(_FILE, hosts_with(tmp_path, {"HF_ENDPOINT": url}))
        with pytest.raises(NotAModelError, match="does not answer as the Hugging Face Hub does"):
            source.pin()


@pytest.mark.parametrize(
    "url", ["hf://acme/up/x2/", "hf://acme/up", "https://huggingface.co/acme/up"]
)
def test_what_is_no_file_is_refused_before_anything_is_asked(
    double: HubDouble, reached: Reached, url: str
) -> None:
    with pytest.raises(InvalidInputError, match=url):
        reached.source(url)
    assert double.asked == []
