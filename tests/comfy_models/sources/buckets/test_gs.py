"""Objects of Google Cloud Storage, read from its double."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfy_errors import ComfyError
from comfy_http.errors import TransientError
from comfy_models.model_file import ModelSource, Pin
from comfy_models.sources.buckets.google_login import GoogleLogin
from comfy_models.sources.errors import (
    AccessDeniedError,
    ChangedError,
    GoneError,
    NotAModelError,
)
from comfy_models.sources.hosts import Hosts
from comfy_models.sources.kinds import source_for
from comfy_models.sources.source import HostFile, Source
from comfy_models.store import ModelStore
from comfy_models.transfer.fetch import fetch
from tests.comfy_models.sources.reached import drain, hosts_with, read
from tests.http_server import Answer
from tests.model_downloads import Model
from tests.model_hosts.gcs import GcsDouble, gcs

# All kinds of accounts are wanted.
pytestmark = pytest.mark.filterwarnings("ignore:The load_credentials_from_file method")

_WEIGHTS = random.Random(1).randbytes(3_000_000)
_URL = "gs://models/up scale/a+b%20.safetensors"


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsDouble]:
    with gcs(tmp_path_factory.mktemp("gcs")) as it:
        yield it


@pytest.fixture
def double(process: GcsDouble) -> GcsDouble:
    process.reset()
    process.bucket("models")
    process.bucket("private", "private")
    process.put("private", "x", _WEIGHTS)
    return process


@pytest.fixture
def generation(double: GcsDouble) -> int:
    return double.put("models", "up scale/a+b%20.safetensors", _WEIGHTS)


class Reached:
    """The double, from a machine whose home is `folder`."""

    def __init__(self, double: GcsDouble, folder: Path) -> None:
        self._double, self._folder = double, folder

    def hosts(self, key_file: Path | None = None) -> Hosts:
        variables = {"STORAGE_EMULATOR_HOST": self._double.url}
        if key_file:
            variables["GOOGLE_APPLICATION_CREDENTIALS"] = str(key_file)
        return hosts_with(self._folder, variables)

    def source(
        self, url: str = _URL, pin: Pin | None = None, *, key_file: Path | None = None
    ) -> Source:
        return source_for(url, self.hosts(key_file), pin)


@pytest.fixture
def reached(double: GcsDouble, tmp_path: Path) -> Reached:
    return Reached(double, tmp_path)


def test_size_generation_and_crc32c_are_told_without_a_download(
    double: GcsDouble, reached: Reached, generation: int
) -> None:
    told = reached.source().pin()
    assert told == HostFile(
        size=len(_WEIGHTS),
        pin=Pin(generation=generation, crc32c=told.pin.crc32c),
        name="a+b%20.safetensors",
    )
    assert told.pin.crc32c is not None
    assert double.sent_bytes == 0


def test_any_part_is_read(reached: Reached, generation: int) -> None:
    source = reached.source()
    assert read(source, 1_000_000, 1_000_005) == _WEIGHTS[1_000_000:1_000_005]
    assert read(source, 2_999_000) == _WEIGHTS[2_999_000:]
    assert read(source) == _WEIGHTS
    with contextlib.closing(source.open(5, 10)) as stream:
        assert (stream.size, stream.validator) == (len(_WEIGHTS), str(generation))


def test_a_pinned_generation_is_read_without_another_question(
    double: GcsDouble, reached: Reached, generation: int
) -> None:
    assert read(reached.source(pin=Pin(generation=generation)), 7) == _WEIGHTS[7:]
    (asked,) = double.asked
    assert f"generation={generation}" in (asked["path"] or "")


def test_a_replaced_object_is_not_the_pinned_one(
    double: GcsDouble, reached: Reached, generation: int
) -> None:
    source = reached.source(pin=Pin(generation=generation))
    newer = double.put("models", "up scale/a+b%20.safetensors", _WEIGHTS[::-1])
    for step in (source.pin, lambda: source.open(0, None)):
        with pytest.raises(
            ChangedError, match=f"its generation is {newer}, not {generation}, which was pinned"
        ):
            step()


def test_another_generation_than_the_one_asked_for_is_not_read(
    double: GcsDouble, reached: Reached, generation: int
) -> None:
    other = {"X-Goog-Generation": str(generation + 1)}
    double.answer_next(Answer(headers=other, body=_WEIGHTS))
    with pytest.raises(ChangedError, match=f"is {generation + 1}, not {generation}"):
        reached.source(pin=Pin(generation=generation)).open(0, None)


def test_an_object_that_is_written_again_has_changed_though_its_bytes_have_not(
    double: GcsDouble, reached: Reached, generation: int
) -> None:
    pin = reached.source().pin().pin
    newer = double.put("models", "up scale/a+b%20.safetensors", _WEIGHTS)
    assert reached.source().pin().pin.crc32c == pin.crc32c
    with pytest.raises(ChangedError, match=f"is {newer}, not {generation}"):
        reached.source(pin=pin).pin()


def test_a_deleted_object_is_gone(double: GcsDouble, reached: Reached, generation: int) -> None:
    source = reached.source(pin=Pin(generation=generation))
    double.delete("models", "up scale/a+b%20.safetensors")
    for step in (source.pin, lambda: source.open(0, None)):
        with pytest.raises(GoneError, match="is not there: No such object: models/up scale/a"):
            step()
    with pytest.raises(GoneError, match="The specified bucket does not exist"):
        reached.source("gs://none/x").pin()


def test_an_object_that_is_replaced_while_it_is_read_comes_from_its_start(
    double: GcsDouble, reached: Reached, generation: int
) -> None:
    source = reached.source()
    assert read(source, 0, 5) == _WEIGHTS[:5]
    double.put("models", "up scale/a+b%20.safetensors", _WEIGHTS[::-1])
    with contextlib.closing(source.open(5, None, validator=str(generation))) as stream:
        drain(stream, arrived := bytearray())
        assert (stream.start, bytes(arrived)) == (0, _WEIGHTS[::-1])
        assert stream.validator != str(generation)


def test_a_private_bucket_is_read_with_the_key_of_an_account(
    double: GcsDouble, reached: Reached
) -> None:
    key_file = double.key_file()
    hosts = reached.hosts(key_file)
    for _ in range(2):
        source = source_for("gs://private/x", hosts)
        assert source.pin().size == len(_WEIGHTS)
        assert read(source, 5, 9) == _WEIGHTS[5:9]
    assert double.tokens == 1


def test_a_token_is_replaced_before_and_after_it_expires(
    double: GcsDouble, reached: Reached
) -> None:
    source = reached.source("gs://private/x", key_file=double.key_file())
    # The client counts a token of a minute as one that has expired.
    double.give_tokens_for(60)
    assert source.pin()
    assert read(source, 0, 9) == _WEIGHTS[:9]
    assert double.tokens == 3
    double.give_tokens_for(3600)
    double.revoke_tokens()
    assert read(source, 9) == _WEIGHTS[9:]
    assert source.pin()
    assert double.tokens == 4


def test_without_an_account_the_variable_is_named(double: GcsDouble, reached: Reached) -> None:
    source = reached.source("gs://private/x")
    for step in (source.pin, lambda: source.open(0, None)):
        with pytest.raises(AccessDeniedError, match=r"Anonymous caller does not have") as caught:
            step()
        assert caught.value.remedy.startswith("Set GOOGLE_APPLICATION_CREDENTIALS")
    assert double.sent_bytes == 0


def test_an_account_without_the_right_is_named(double: GcsDouble, reached: Reached) -> None:
    key_file = double.key_file("outsider@comfy.example", is_member=False)
    source = reached.source("gs://private/x", Pin(generation=1), key_file=key_file)
    for step in (source.pin, lambda: source.open(0, None)):
        with pytest.raises(AccessDeniedError, match=r"outsider@comfy\.example does not have"):
            step()


def test_a_key_that_is_none_any_more_is_said(double: GcsDouble, reached: Reached) -> None:
    key_file = double.key_file()
    document = json.loads(key_file.read_text())
    key_file.write_text(json.dumps({**document, "client_email": "deleted@comfy.example"}))
    with pytest.raises(AccessDeniedError, match=f"the account of {key_file}: .*invalid_grant"):
        reached.source("gs://private/x", key_file=key_file).pin()
    key_file.write_text("{}")
    with pytest.raises(AccessDeniedError, match="which is not a key file") as caught:
        reached.source("gs://private/x", key_file=key_file).pin()
    assert document["private_key"] not in caught.value.in_words()


def test_an_account_is_only_looked_for_after_a_refusal(
    double: GcsDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    shutil.copy(double.key_file(), tmp_path / "application_default_credentials.json")
    login = GoogleLogin(hosts_with(tmp_path, {}))
    assert login.headers() == {}
    found = login.headers(refused={})
    assert found["authorization"].startswith("Bearer ya29.")
    assert login.headers() == found


def test_nobody_is_found_where_there_is_no_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    assert GoogleLogin(hosts_with(tmp_path, {})).headers(refused={}) == {}


def test_a_compressed_object_is_read_as_it_is_for_everybody(
    double: GcsDouble, reached: Reached
) -> None:
    generation = double.put("models", "x", gzip.compress(_WEIGHTS), encoding="gzip")
    source = reached.source("gs://models/x")
    assert source.pin() == HostFile(pin=Pin(generation=generation), name="x")
    with contextlib.closing(source.open(5, None)) as stream:
        drain(stream, arrived := bytearray())
        assert (stream.start, stream.size, bytes(arrived)) == (0, None, _WEIGHTS)


def test_a_busy_host_is_asked_again(double: GcsDouble, reached: Reached, generation: int) -> None:
    double.answer_next(Answer(status=429), Answer(status=503))
    assert reached.source().pin().pin.generation == generation
    double.answer_next(Answer(status=429, headers={"Retry-After": "7"}))
    with pytest.raises(TransientError) as caught:
        reached.source().open(0, None)
    assert caught.value.wait_s == 7


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (Answer(body=b"<!DOCTYPE html>Log in"), NotAModelError, "does not answer as Google"),
        (Answer(body=b'{"size": "-1", "generation": "2"}'), NotAModelError, "does not answer"),
        (Answer(status=403, body=b"<html>Blocked</html>"), AccessDeniedError, "it answered 403"),
        (Answer(status=403, body=b"[" * 4000), AccessDeniedError, "it answered 403"),
        (Answer(status=400, body=b'{"error": []}'), ComfyError, "it answered 400"),
    ],
)
def test_an_answer_that_is_none_of_the_api_is_said(
    double: GcsDouble, reached: Reached, answer: Answer, error: type[ComfyError], words: str
) -> None:
    double.answer_next(answer)
    with pytest.raises(error, match=words):
        reached.source().pin()


def test_a_model_arrives_through_cut_connections_and_expired_tokens(
    double: GcsDouble, reached: Reached, tmp_path: Path
) -> None:
    generation = double.put("private", "x", _WEIGHTS)
    double.cut_next(1_200_000, 700_000)
    double.give_tokens_for(1)
    source = ModelSource(url="gs://private/x", pin=Pin(generation=generation))
    model = Model(sha256=hashlib.sha256(_WEIGHTS).hexdigest(), size=len(_WEIGHTS), sources=[source])
    store = ModelStore(tmp_path / "store")
    fetch([model], store, reached.hosts(double.key_file()))
    assert store.path_of(model.sha256).read_bytes() == _WEIGHTS
    assert double.sent_bytes <= 1.05 * len(_WEIGHTS)
