"""Outputs in Google Cloud Storage, through Google's own client, at a server of our own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from comfy_errors import ComfyError, InvalidInputError, UnavailableError
from comfy_files.parallel import give_up_with
from rp_handler.errors import OutputUploadError
from rp_handler.outputs.gcs import GcsBucket
from rp_handler.outputs.gcs_settings import GcsSettings
from tests.http_server import Answer
from tests.model_hosts.gcs import GcsDouble

_BUSY = Answer(status=503, body=b"{}")
_LARGE = bytes(range(256)) * (1 << 16)

Open = Callable[..., GcsBucket]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def opened(storage: GcsDouble, said: list[str], monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens the bucket `results` with the variables given, as an account that may write to it."""

    def open_bucket(**variables: str) -> GcsBucket:
        environment = {
            "GCS_BUCKET": "results",
            "GCS_RETRY_BASE_SLEEP": "0.01",
            "GOOGLE_APPLICATION_CREDENTIALS": str(storage.key_file()),
            "STORAGE_EMULATOR_HOST": storage.url,
            **variables,
        }
        for name, text in environment.items():
            monkeypatch.setenv(name, text)
        bucket = GcsBucket(GcsSettings.of(environment), explain=said.append)
        bucket.require()
        return bucket

    return open_bucket


def test_an_object_has_its_name_type_and_bytes(
    storage: GcsDouble, opened: Open, picture: Path, said: list[str]
) -> None:
    entry = opened().upload(picture, "a b/x.png", "image/png")
    assert entry == {"type": "gcs", "uri": "gs://results/a b/x.png"}
    (found,) = storage.objects("results")
    assert (found["name"], found["contentType"]) == ("a b/x.png", "image/png")
    assert found["content"] == picture.read_bytes()
    assert said == []


def test_a_signed_url_can_be_fetched_for_its_time_and_is_explained(
    storage: GcsDouble, opened: Open, picture: Path, said: list[str]
) -> None:
    bucket = opened(GCS_SIGNED_URL_TTL="3")
    url = bucket.upload(picture, "a b/x+y#.png", "image/png")["url"]
    assert requests.get(url, timeout=10).content == picture.read_bytes()
    assert any(url in sentence for sentence in said)
    assert requests.get(url.partition("?")[0], timeout=10).status_code == 403
    assert requests.get(url.replace("Expires=3", "Expires=4"), timeout=10).status_code == 403
    time.sleep(4)
    late = requests.get(url, timeout=10)
    assert (late.status_code, "ExpiredToken" in late.text) == (400, True)


def test_a_public_object_can_be_read_by_all(
    storage: GcsDouble, opened: Open, picture: Path
) -> None:
    url = opened(GCS_PUBLIC="true").upload(picture, "x.png", "image/png")["url"]
    answer = requests.get(url, timeout=10)
    assert answer.content == picture.read_bytes()
    assert answer.headers["Content-Type"] == "image/png"


def test_a_bucket_without_lists_of_objects_is_refused_at_the_start(
    storage: GcsDouble, opened: Open
) -> None:
    storage.bucket("results", "private", is_uniform=True)
    with pytest.raises(InvalidInputError, match="GCS_PUBLIC is set, but gs://results allows no"):
        opened(GCS_PUBLIC="true")
    opened()


def test_errors_that_pass_are_tried_again_later_each_time(
    storage: GcsDouble, opened: Open, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr("rp_handler.outputs.gcs.pause", waits.append)
    bucket = opened(GCS_RETRY_BASE_SLEEP="0.2")
    storage.answer_next_uploads(_BUSY, Answer(status=429, body=b"{}"))
    bucket.upload(picture, "x.png", "image/png")
    assert 0.2 <= waits[0] <= 0.25
    assert 0.4 <= waits[1] <= 0.5
    assert len(waits) == 2
    assert len(storage.objects("results")) == 1


@pytest.mark.parametrize(("variables", "attempts"), [({}, 3), ({"GCS_RETRIES": "2"}, 2)])
def test_after_as_many_attempts_as_asked_it_fails(
    storage: GcsDouble, opened: Open, picture: Path, variables: dict[str, str], attempts: int
) -> None:
    bucket = opened(**variables)
    storage.answer_next_uploads(*[_BUSY] * 5)
    before = len(storage.asked)
    with pytest.raises(OutputUploadError, match=rf"\({attempts} attempts\): it answered 503"):
        bucket.upload(picture, "x.png", "image/png")
    assert len(storage.asked) - before - 1 <= attempts
    assert storage.objects("results") == []


def test_an_upload_whose_answer_was_lost_makes_no_second_object(
    storage: GcsDouble, opened: Open, picture: Path
) -> None:
    first = opened()
    first.upload(picture, "x.png", "image/png")
    (before,) = storage.objects("results")
    assert opened().upload(picture, "x.png", "image/png")["uri"] == "gs://results/x.png"
    assert storage.objects("results") == [before]
    picture.write_bytes(b"other")
    first.upload(picture, "x.png", "image/png")
    (after,) = storage.objects("results")
    assert after["content"] == b"other"
    assert after["generation"] > before["generation"]


def test_a_large_file_is_sent_in_pieces(storage: GcsDouble, opened: Open, tmp_path: Path) -> None:
    (path := tmp_path / "x.mp4").write_bytes(_LARGE)
    bucket = opened(GCS_PUBLIC="1")
    url = bucket.upload(path, "x.mp4", "video/mp4")["url"]
    assert sum(it["method"] == "PUT" for it in storage.asked) == 2
    (found,) = storage.objects("results")
    assert (found["contentType"], found["content"] == _LARGE) == ("video/mp4", True)
    assert requests.get(url, timeout=10).content == _LARGE


@pytest.mark.parametrize("content", [b"", b"small", _LARGE])
def test_bytes_that_are_damaged_on_their_way_are_sent_again(
    storage: GcsDouble, opened: Open, tmp_path: Path, content: bytes
) -> None:
    (path := tmp_path / "x.bin").write_bytes(content)
    bucket = opened()
    storage.damage_next_upload()
    bucket.upload(path, "x.bin", "application/octet-stream")
    (found,) = storage.objects("results")
    assert found["content"] == content


def test_a_cancelled_upload_ends(storage: GcsDouble, opened: Open, tmp_path: Path) -> None:
    (path := tmp_path / "x.bin").write_bytes(_LARGE)
    bucket, cancelled, ended = opened(), threading.Event(), threading.Event()

    def work() -> None:
        give_up_with(cancelled)
        try:
            bucket.upload(path, "x.bin", "application/octet-stream")
        except KeyboardInterrupt:
            ended.set()

    cancelled.set()
    threading.Thread(target=work, daemon=True).start()
    assert ended.wait(60)
    assert storage.objects("results") == []


def test_a_token_that_is_not_valid_any_more_is_renewed(
    storage: GcsDouble, opened: Open, picture: Path
) -> None:
    bucket = opened()
    storage.revoke_tokens()
    bucket.upload(picture, "x.png", "image/png")
    assert len(storage.objects("results")) == 1


def _fault(open_bucket: Open, **variables: str) -> ComfyError:
    with pytest.raises(ComfyError) as caught:
        open_bucket(**variables)
    error = caught.value
    assert error.remedy
    assert "PRIVATE KEY" not in f"{error.message} {error.remedy}"
    return error


def test_a_bucket_that_is_not_there_is_named_at_the_start(opened: Open) -> None:
    error = _fault(opened, GCS_BUCKET="resulst")
    assert isinstance(error, UnavailableError)
    assert error.message == ("the bucket resulst is not there: The specified bucket does not exist")
    assert "GCS_BUCKET" in error.remedy


def test_an_account_that_may_not_write_is_named_at_the_start(
    storage: GcsDouble, opened: Open
) -> None:
    key = storage.key_file("outsider@comfy.iam.gserviceaccount.com", is_member=False)
    error = _fault(opened, GOOGLE_APPLICATION_CREDENTIALS=str(key))
    assert "outsider@comfy.iam.gserviceaccount.com may not write to gs://results" in error.message
    assert "roles/storage.objectUser" in error.remedy
    storage.bucket("results", "public")
    assert (
        "storage.objects.create" in _fault(opened, GOOGLE_APPLICATION_CREDENTIALS=str(key)).message
    )


def test_an_account_that_google_does_not_know_is_said(storage: GcsDouble, opened: Open) -> None:
    key = storage.key_file()
    storage.reset()
    storage.bucket("results", "private")
    with pytest.raises(UnavailableError, match="Google gives no token for gs://results"):
        opened_with(storage, key)


def opened_with(storage: GcsDouble, key: Path) -> None:
    settings = GcsSettings.of(
        {
            "GCS_BUCKET": "results",
            "GOOGLE_APPLICATION_CREDENTIALS": str(key),
            "STORAGE_EMULATOR_HOST": storage.url,
        }
    )
    GcsBucket(settings, explain=print).require()


def test_without_a_key_it_says_what_to_set(
    storage: GcsDouble, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    with pytest.raises(UnavailableError, match="no Google account to write to gs://r-e") as caught:
        GcsBucket(GcsSettings.of({"GCS_BUCKET": "r-e"}), explain=print)
    assert "GOOGLE_APPLICATION_CREDENTIALS" in caught.value.remedy
    emulated = {"GCS_BUCKET": "results", "STORAGE_EMULATOR_HOST": storage.url}
    with pytest.raises(UnavailableError, match="gs://results needs an account"):
        GcsBucket(GcsSettings.of(emulated), explain=print).require()
    with pytest.raises(InvalidInputError, match="no key to sign URLs"):
        GcsBucket(GcsSettings.of({**emulated, "GCS_SIGNED_URL_TTL": "60"}), explain=print)


@pytest.mark.parametrize(
    "key", ['{"type": "service_account"}', '{"type": "?", "private_key": "PRIVATE KEY"}']
)
def test_a_key_that_is_no_key_is_refused_without_repeating_it(opened: Open, key: str) -> None:
    assert _fault(opened, GCS_CREDENTIALS_JSON=key).exit_code == 2


def test_a_server_that_is_not_there_is_said(opened: Open) -> None:
    error = _fault(opened, STORAGE_EMULATOR_HOST="http://127.0.0.1:9")
    assert "gs://results cannot be reached (3 attempts): no connection" in error.message
