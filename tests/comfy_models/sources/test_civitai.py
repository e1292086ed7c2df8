"""Files of Civitai, read from its double."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_errors import ComfyError, InvalidInputError
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
from tests.http_server import Answer
from tests.model_hosts.civitai import TOKEN, CivitaiDouble, CivitaiFile, civitai

_WEIGHTS = bytes(range(256)) * 4000 + b"."
_FILE = CivitaiFile(id=7, name="up.safetensors", content=_WEIGHTS, primary=True)
_VAE = CivitaiFile(id=8, name="vae.safetensors", content=b"vae", kind="VAE")
_PICKLE = CivitaiFile(id=9, name="up.ckpt", content=b"pickled", format="PickleTensor")


@pytest.fixture
def double() -> Iterator[CivitaiDouble]:
    with civitai() as it:
        it.publish(2, _FILE, _VAE, _PICKLE)
        yield it


class Reached:
    """The double of Civitai, from a machine whose home is `folder`."""

    def __init__(self, double: CivitaiDouble, folder: Path) -> None:
        self.double, self.folder = double, folder

    def source(
        self, url: str = "civitai://2", pin: Pin | None = None, *, token: str = TOKEN
    ) -> Source:
        variables = {"CIVITAI_ENDPOINT": self.double.url, "CIVITAI_TOKEN": token}
        return source_for(url, hosts_with(self.folder, variables), pin)


@pytest.fixture
def reached(double: CivitaiDouble, tmp_path: Path) -> Reached:
    return Reached(double, tmp_path)


def test_the_ids_the_hash_and_the_exact_size_are_pinned(
    double: CivitaiDouble, reached: Reached
) -> None:
    rounded = CivitaiFile(id=70, name="a.safetensors", content=_WEIGHTS, primary=True, size_kb=1000)
    double.publish(20, rounded)
    assert reached.source("civitai://20").pin() == HostFile(
        size=len(_WEIGHTS),
        sha256=rounded.sha256,
        pin=Pin(version_id=20, file_id=70),
        name="a.safetensors",
    )
    assert [request.headers["Range"] for request in double.storage.asked] == ["bytes=0-0"]


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("civitai://2", _FILE),
        ("civitai://2?file=8", _VAE),
        ("https://civitai.com/models/1/some-slug?modelVersionId=2", _FILE),
        ("https://civitai.red/models/1?modelVersionId=2", _FILE),
        ("https://civitai.com/api/download/models/2", _FILE),
        ("https://civitai.com/api/download/models/2?fileId=9", _PICKLE),
        ("https://civitai.com/api/download/models/2?type=VAE", _VAE),
        ("https://civitai.com/api/download/models/2?type=Model&format=PickleTensor", _PICKLE),
        ("urn:air:sdxl:upscaler:civitai:1@2", _FILE),
        ("urn:air:sdxl:upscaler:civitai:1@2+8", _VAE),
        ("urn:air:sdxl:upscaler:civitai:1@2.safetensors", _FILE),
        ("civitai://urn:air:sdxl:upscaler:civitai:1@2+8", _VAE),
    ],
)
def test_every_way_to_write_an_address_names_its_file(
    reached: Reached, url: str, file: CivitaiFile
) -> None:
    source = reached.source(url)
    assert source.pin().pin.file_id == file.id
    assert read(source) == file.content
    assert read(reached.source(url)) == file.content


def test_a_pinned_file_is_read_after_another_became_the_primary_one(
    double: CivitaiDouble, reached: Reached
) -> None:
    pin = reached.source().pin().pin
    newer = CivitaiFile(id=10, name="newer.safetensors", content=b"newer", primary=True)
    double.versions[2].files = [
        newer,
        CivitaiFile(id=7, name="up.safetensors", content=_WEIGHTS),
    ]
    double.storage.put("model/10", newer.content)
    assert reached.source().pin().pin.file_id == 10
    assert read(reached.source(pin=pin)) == _WEIGHTS


def test_an_ambiguous_address_names_the_files(double: CivitaiDouble, reached: Reached) -> None:
    double.publish(
        3,
        CivitaiFile(id=31, name="a.safetensors", content=b"a"),
        CivitaiFile(id=32, name="b.safetensors", content=b"b"),
    )
    files = r"31 \('a\.safetensors'\), 32 \('b\.safetensors'\)"
    with pytest.raises(InvalidInputError, match=rf"may be several files: .*{files}") as caught:
        reached.source("civitai://3").pin()
    assert "civitai://3?file=FILE_ID" in caught.value.remedy
    with pytest.raises(GoneError, match=rf"civitai://3\?file=33 is not there: .*{files}"):
        reached.source("civitai://3?file=33").pin()


def test_the_token_is_sent_to_civitai_and_to_nobody_else(
    double: CivitaiDouble, reached: Reached
) -> None:
    source = reached.source()
    source.pin()
    assert read(source) == _WEIGHTS
    assert {request.headers["Authorization"] for request in double.asked} == {f"Bearer {TOKEN}"}
    assert {request.headers["Authorization"] for request in double.storage.asked} == {None}
    assert not any(TOKEN in request.path for request in (*double.asked, *double.storage.asked))


def test_the_signed_address_is_remembered(double: CivitaiDouble, reached: Reached) -> None:
    source = reached.source()
    source.pin()
    assert read(source, 0, 1000) + read(source, 1000) == _WEIGHTS
    assert sum("/api/download/" in request.path for request in double.asked) == 1


def test_a_missing_token_is_named(reached: Reached) -> None:
    with pytest.raises(AccessDeniedError, match="version 2 on Civitai needs a login") as caught:
        reached.source(token="").pin()
    assert caught.value.remedy.startswith("Set CIVITAI_TOKEN")


def test_a_wrong_token_is_not_shown(reached: Reached) -> None:
    with pytest.raises(AccessDeniedError, match="CIVITAI_TOKEN: Invalid API key") as caught:
        reached.source(token="mistyped").pin()
    assert "mistyped" not in caught.value.in_words()


def test_early_access_is_said_with_its_end(double: CivitaiDouble, reached: Reached) -> None:
    double.publish(4, _FILE, early_access_until="2026-12-24T12:00:00.000Z")
    with pytest.raises(AccessDeniedError, match="in early access until 2026-12-24T12:00:00"):
        reached.source("civitai://4").pin()


def test_a_version_that_cannot_be_downloaded_any_more_is_gone(
    double: CivitaiDouble, reached: Reached
) -> None:
    double.publish(5, _FILE, mode="Archived")
    with pytest.raises(GoneError, match="its model is archived"):
        reached.source("civitai://5").pin()
    with pytest.raises(GoneError, match="Model archived, not available for download"):
        reached.source("civitai://5?file=7").open(0, None)
    double.publish(6, _FILE, downloads=False)
    with pytest.raises(GoneError, match="has disabled downloads"):
        reached.source("civitai://6").pin()


def test_a_passing_404_is_asked_again(double: CivitaiDouble, reached: Reached) -> None:
    double.answers = [Answer(status=404, body=b'{"error":"File not found"}')] * 2
    assert reached.source().pin().sha256 == _FILE.sha256


def test_a_lasting_404_is_a_model_that_is_gone(double: CivitaiDouble, reached: Reached) -> None:
    with pytest.raises(GoneError, match=r"^Civitai \(127.0.0.1\) has no version 99$") as caught:
        reached.source("civitai://99").pin()
    assert "CIVITAI_ENDPOINT" not in caught.value.remedy
    assert len(double.asked) == 3


def test_what_civitai_does_not_show_may_be_shown_elsewhere(
    double: CivitaiDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("comfy_models.sources.civitai_api._CIVITAI", double.url)
    hosts = hosts_with(tmp_path, {"CIVITAI_TOKEN": TOKEN})
    with pytest.raises(GoneError) as caught:
        source_for("civitai://99", hosts).pin()
    assert "CIVITAI_ENDPOINT=https://civitai.red" in caught.value.remedy


def test_too_many_requests_are_made_later(double: CivitaiDouble, reached: Reached) -> None:
    double.answers = [Answer(status=429)] * 3
    assert reached.source().pin().sha256 == _FILE.sha256


def test_an_expired_address_is_asked_for_again_in_the_middle_of_a_file(
    double: CivitaiDouble, reached: Reached
) -> None:
    double.storage.cuts = [200_000]
    source = reached.source()
    got = bytearray()
    with contextlib.closing(source.open(0, None)) as stream:
        with pytest.raises(TransientError):
            drain(stream, got)
        validator = stream.validator
    double.storage.expire()
    assert got + read(source, len(got), validator=validator) == _WEIGHTS
    assert sum("/api/download/" in request.path for request in double.asked) == 2
    assert not any(request.headers["Authorization"] for request in double.storage.asked)


def test_a_file_of_another_size_behind_a_new_address_is_refused(
    double: CivitaiDouble, reached: Reached
) -> None:
    source = reached.source()
    validator = source.open(0, 1000).validator
    double.storage.expire()
    double.storage.put("model/7", _WEIGHTS[:-1])
    with pytest.raises(ChangedError, match=r"civitai://2\?file=7 has been replaced"):
        source.open(1000, None, validator=validator)


def test_a_replaced_file_of_the_same_size_is_not_mixed_with_the_first(
    double: CivitaiDouble, reached: Reached
) -> None:
    source = reached.source()
    validator = source.open(0, 1000).validator
    double.storage.expire()
    double.storage.put("model/7", _WEIGHTS[::-1])
    with contextlib.closing(source.open(1000, None, validator=validator)) as stream:
        assert (stream.start, stream.validator == validator) == (0, False)
    with pytest.raises(ChangedError, match="has been replaced"):
        source.open(1000, None)


def test_an_address_that_is_refused_at_once_is_not_asked_for_again_and_again(
    double: CivitaiDouble, reached: Reached
) -> None:
    double.storage.lifetime_s = -1.0
    with pytest.raises(StatusError, match="403") as caught:
        reached.source("civitai://2?file=7").open(0, None)
    assert caught.value.message.startswith("civitai://2?file=7 could not be read: it answered 403")
    assert len(double.asked) == 1


_LOGIN_PAGE = Answer(headers={"Content-Type": "text/html"}, body=b"<!DOCTYPE html>Sign in")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (_LOGIN_PAGE, NotAModelError),
        (Answer(body=b"[]"), NotAModelError),
        (Answer(body=b'{"id": 2, "files": [{"id": "x"}]}'), NotAModelError),
        (Answer(status=403, body=b"[" * 4000), AccessDeniedError),
        (Answer(status=403, body=b"<html>Just a moment...</html>"), AccessDeniedError),
        (Answer(status=451, body=b"{}"), GoneError),
    ],
)
def test_an_answer_that_is_none_of_civitais_is_said(
    double: CivitaiDouble, reached: Reached, answer: Answer, error: type[ComfyError]
) -> None:
    double.answers = [answer]
    with pytest.raises(error, match="(?i)civitai|127"):
        reached.source().pin()


@pytest.mark.parametrize("name", ["../up.safetensors", "..", "a\\b", "a\nb"])
def test_a_name_that_no_file_here_may_have_is_dropped(
    double: CivitaiDouble, reached: Reached, name: str
) -> None:
    double.publish(20, CivitaiFile(id=70, name=name, content=_WEIGHTS))
    assert reached.source("civitai://20").pin().name is None


def test_a_login_page_in_place_of_the_file_is_said(double: CivitaiDouble, reached: Reached) -> None:
    double.answers = [_LOGIN_PAGE]
    with pytest.raises(AccessDeniedError, match="CIVITAI_TOKEN"):
        reached.source("civitai://2?file=7").open(0, None)


@pytest.mark.parametrize(
    "url", ["civitai://", "civitai://up", "https://civitai.com/models/1", "urn:air:x"]
)
def test_what_names_no_version_is_refused_before_anything_is_asked(
    double: CivitaiDouble, reached: Reached, url: str
) -> None:
    with pytest.raises(InvalidInputError, match=url):
        reached.source(url)
    assert double.asked == []
