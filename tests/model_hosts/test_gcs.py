"""The double of Google Cloud Storage, through Google's own client."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from google.oauth2 import service_account

from tests.http_server import Answer
from tests.model_hosts.gcs import GcsDouble, gcs

_WEIGHTS = bytes(range(256)) * 4000


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsDouble]:
    with gcs(tmp_path_factory.mktemp("gcs")) as it:
        yield it


@pytest.fixture
def double(process: GcsDouble) -> GcsDouble:
    process.reset()
    process.bucket("models", "open")
    process.bucket("private", "private")
    return process


def _client(double: GcsDouble, key_file: Path | None = None) -> storage.Client:
    credentials = (
        service_account.Credentials.from_service_account_file(str(key_file))
        if key_file
        else AnonymousCredentials()
    )
    return storage.Client("comfy", credentials, client_options={"api_endpoint": double.url})


def test_what_is_uploaded_is_downloaded(double: GcsDouble) -> None:
    blob = _client(double).bucket("models").blob("up scale/a+b?#.safetensors")
    blob.upload_from_string(_WEIGHTS)
    assert blob.download_as_bytes(checksum="crc32c") == _WEIGHTS
    assert blob.download_as_bytes(start=1000, end=1999) == _WEIGHTS[1000:2000]
    told = _client(double).bucket("models").get_blob(blob.name)
    assert (told.size, told.crc32c, told.md5_hash) == (len(_WEIGHTS), blob.crc32c, blob.md5_hash)
    assert told.generation == blob.generation


def test_a_large_file_is_uploaded_in_pieces(double: GcsDouble, tmp_path: Path) -> None:
    (file := tmp_path / "x").write_bytes(content := _WEIGHTS * 9)
    blob = _client(double).bucket("models").blob("x", chunk_size=4 << 20)
    blob.upload_from_filename(file)
    assert sum(it["method"] == "PUT" for it in double.asked) == 3
    assert blob.download_as_bytes(checksum="md5") == content


def test_a_broken_download_is_taken_up(double: GcsDouble) -> None:
    double.put("models", "x", _WEIGHTS)
    double.cut_next(400_000)
    assert _client(double).bucket("models").blob("x").download_as_bytes() == _WEIGHTS
    assert double.sent_bytes >= len(_WEIGHTS)


def test_an_object_has_one_generation_at_a_time(double: GcsDouble) -> None:
    first = double.put("models", "x", b"first")
    second = double.put("models", "x", b"second")
    bucket = _client(double).bucket("models")
    assert second > first
    assert bucket.blob("x", generation=second).download_as_bytes() == b"second"
    with pytest.raises(exceptions.NotFound, match=f"No such object: models/x#{first}"):
        bucket.blob("x", generation=first).download_as_bytes()
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("x").download_as_bytes(if_generation_match=first)
    with pytest.raises(exceptions.PreconditionFailed):
        bucket.blob("x").upload_from_string("third", if_generation_match=0)


def test_what_does_not_exist_is_said(double: GcsDouble) -> None:
    with pytest.raises(exceptions.NotFound, match="No such object: models/none"):
        _client(double).bucket("models").blob("none").reload()
    with pytest.raises(exceptions.NotFound, match="The specified bucket does not exist"):
        _client(double).bucket("none").blob("x").reload()


def test_a_private_bucket_wants_the_token_of_a_member(double: GcsDouble) -> None:
    double.put("private", "x", _WEIGHTS)
    anonymous = requests.get(f"{double.url}/storage/v1/b/private/o/x", timeout=10)
    assert anonymous.status_code == 401
    assert "Anonymous caller does not have" in anonymous.json()["error"]["message"]
    outsider = double.key_file("outsider@comfy.iam.gserviceaccount.com", is_member=False)
    with pytest.raises(exceptions.Forbidden, match="outsider@.* does not have"):
        _client(double, outsider).bucket("private").blob("x").reload()
    blob = _client(double, double.key_file()).bucket("private").blob("x")
    assert blob.download_as_bytes() == _WEIGHTS
    double.revoke_tokens()
    given = double.tokens
    assert blob.download_as_bytes() == _WEIGHTS
    assert double.tokens > given


def test_a_compressed_object_is_unpacked_on_the_way(double: GcsDouble) -> None:
    double.put("models", "x", gzip.compress(_WEIGHTS), encoding="gzip")
    blob = _client(double).bucket("models").blob("x")
    assert blob.download_as_bytes() == _WEIGHTS
    place = f"{double.url}/download/storage/v1/b/models/o/x?alt=media"
    headers = {"Accept-Encoding": "identity", "Range": "bytes=5-9"}
    response = requests.get(place, headers=headers, timeout=10)
    assert (response.status_code, response.content) == (200, _WEIGHTS)


def test_the_client_asks_again_later(double: GcsDouble) -> None:
    double.put("models", "x", _WEIGHTS)
    double.answer_next(
        Answer(status=429, headers={"Retry-After": "1"}), Answer(status=503, body=b"{}")
    )
    assert _client(double).bucket("models").blob("x").download_as_bytes() == _WEIGHTS


def test_a_signed_url_is_good_for_one_object_and_one_account(double: GcsDouble) -> None:
    double.put("private", "a b/x+y", _WEIGHTS)
    member = _client(double, double.key_file()).bucket("private").blob("a b/x+y")
    url = member.generate_signed_url(version="v4", expiration=60)
    assert requests.get(url, timeout=10).content == _WEIGHTS
    ranged = requests.get(url, headers={"Range": "bytes=5-6"}, timeout=10)
    assert (ranged.status_code, ranged.content) == (206, _WEIGHTS[5:7])
    assert requests.get(url.replace("/x%2By", "/z"), timeout=10).status_code == 403
    assert requests.head(url, timeout=10).status_code == 403
    key = double.key_file("outsider@comfy.iam.gserviceaccount.com", is_member=False)
    other = _client(double, key).bucket("private").blob("a b/x+y")
    url = other.generate_signed_url(version="v4", expiration=60)
    assert requests.get(url, timeout=10).status_code == 403


def test_only_a_public_object_is_read_without_an_account(double: GcsDouble) -> None:
    bucket = _client(double, double.key_file()).bucket("private")
    for name, acl in (("x", "publicRead"), ("y", None)):
        bucket.blob(name).upload_from_string(b"x", "image/png", predefined_acl=acl)
    answer = requests.get(f"{double.url}/private/x", timeout=10)
    assert (answer.content, answer.headers["Content-Type"]) == (b"x", "image/png")
    assert requests.get(f"{double.url}/private/y", timeout=10).status_code == 403
    double.bucket("uniform", is_uniform=True)
    blob = _client(double, double.key_file()).bucket("uniform").blob("x")
    with pytest.raises(exceptions.BadRequest, match="Cannot insert legacy ACL"):
        blob.upload_from_string(b"x", predefined_acl="publicRead")


def test_a_damaged_upload_is_refused(double: GcsDouble) -> None:
    blob = _client(double).bucket("models").blob("x")
    double.damage_next_upload()
    with pytest.raises(exceptions.BadRequest, match="Provided crc32c .* doesn't match"):
        blob.upload_from_string(_WEIGHTS, retry=None)
    assert not blob.exists()


def test_who_asks_is_told_the_rights_in_a_bucket(double: GcsDouble) -> None:
    asked = ["storage.objects.create", "storage.objects.get"]
    double.bucket("public")
    key = double.key_file("outsider@comfy.iam.gserviceaccount.com", is_member=False)
    assert _client(double, key).bucket("public").test_iam_permissions(asked) == asked[1:]
    member = _client(double, double.key_file())
    assert member.bucket("private").test_iam_permissions(asked) == asked
    with pytest.raises(exceptions.NotFound):
        member.bucket("none").test_iam_permissions(asked)


def test_an_object_that_is_deleted_is_gone(double: GcsDouble) -> None:
    generation = double.put("models", "x", b"x")
    blob = _client(double).bucket("models").blob("x")
    with pytest.raises(exceptions.PreconditionFailed):
        blob.delete(if_generation_match=generation + 1)
    blob.delete(if_generation_match=generation)
    assert double.objects("models") == []
