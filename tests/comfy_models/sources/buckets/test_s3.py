"""Files of S3, read from moto's."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from comfy_errors import ComfyError
from comfy_http.errors import StatusError, TransientError
from comfy_models.model_file import ModelSource, Pin
from comfy_models.sources.errors import AccessDeniedError, ChangedError, GoneError
from comfy_models.sources.hosts import Hosts
from comfy_models.sources.kinds import source_for
from comfy_models.sources.source import HostFile, Source
from comfy_models.store import ModelStore
from comfy_models.transfer.fetch import fetch
from tests.comfy_models.sources.reached import drain, hosts_with, read
from tests.http_server import Answer, Request, ranged, redirect, serve
from tests.model_downloads import Model
from tests.model_hosts.s3 import KEY_ID, OUTSIDER_ID, OUTSIDER_KEY, SECRET_KEY, S3Double, s3

_WEIGHTS = random.Random(2).randbytes(3_000_000)
_SHA256 = hashlib.sha256(_WEIGHTS).hexdigest()
_ETAG = hashlib.md5(_WEIGHTS).hexdigest()
_KEY = "up scale/a+b%20.safetensors"
_URL = f"s3://models/{_KEY}"


@pytest.fixture
def double() -> Iterator[S3Double]:
    with s3() as it:
        it.bucket("models")
        it.put("models", _KEY, _WEIGHTS, ChecksumAlgorithm="SHA256")
        it.asked.clear()
        yield it


class Reached:
    """The double, from a machine whose home is `folder`, with what is said of AWS there."""

    def __init__(self, double: S3Double, folder: Path) -> None:
        self._double, self._folder = double, folder

    def hosts(self, variables: Mapping[str, str] = MappingProxyType({})) -> Hosts:
        return hosts_with(self._folder, {**self._double.variables, **variables})

    def source(
        self,
        url: str = _URL,
        pin: Pin | None = None,
        *,
        variables: Mapping[str, str] = MappingProxyType({}),
    ) -> Source:
        return source_for(url, self.hosts(variables), pin)


@pytest.fixture
def reached(double: S3Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reached:
    # boto3 looks for keys in this machine's files, and asks the machine itself.
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return Reached(double, tmp_path)


_NO_KEY = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}


def test_size_etag_and_sha256_are_told_without_a_download(
    double: S3Double, reached: Reached
) -> None:
    assert reached.source().pin() == HostFile(
        size=len(_WEIGHTS), sha256=_SHA256, pin=Pin(etag=_ETAG), name="a+b%20.safetensors"
    )
    assert [it.method for it in double.asked] == ["HEAD"]


def test_the_sha256_of_parts_is_none_of_the_file(double: S3Double, reached: Reached) -> None:
    name = {"Bucket": "models", "Key": "parts"}
    upload = {
        **name,
        "UploadId": double.client.create_multipart_upload(**name, ChecksumAlgorithm="SHA256")[
            "UploadId"
        ],
    }
    part = double.client.upload_part(
        **upload, PartNumber=1, Body=_WEIGHTS, ChecksumAlgorithm="SHA256"
    )
    listed = {it: part[it] for it in ("ETag", "ChecksumSHA256")} | {"PartNumber": 1}
    double.client.complete_multipart_upload(**upload, MultipartUpload={"Parts": [listed]})
    told = reached.source("s3://models/parts").pin()
    assert (told.size, told.sha256) == (len(_WEIGHTS), None)
    assert told.pin.etag is not None
    assert told.pin.etag.endswith("-1")
    assert read(reached.source("s3://models/parts", pin=told.pin), 9) == _WEIGHTS[9:]


def test_a_file_without_a_checksum_has_no_sha256(double: S3Double, reached: Reached) -> None:
    double.put("models", "plain", _WEIGHTS, ChecksumAlgorithm="CRC32")
    assert reached.source("s3://models/plain").pin().sha256 is None


@pytest.mark.parametrize("checksum", ["", "x", "é", "AAAA"])
def test_a_checksum_that_is_none_is_no_sha256(
    double: S3Double, reached: Reached, checksum: str
) -> None:
    double.answers.append(Answer(headers={"ETag": '"1"', "x-amz-checksum-sha256": checksum}))
    told = reached.source().pin()
    assert (told.sha256, told.pin) == (None, Pin(etag="1"))


def test_any_part_is_read(double: S3Double, reached: Reached) -> None:
    source = reached.source()
    assert read(source, 1_000_000, 1_000_005) == _WEIGHTS[1_000_000:1_000_005]
    assert read(source, 2_999_000) == _WEIGHTS[2_999_000:]
    assert read(source) == _WEIGHTS
    with contextlib.closing(source.open(5, 10)) as stream:
        assert (stream.size, stream.validator) == (len(_WEIGHTS), f'"{_ETAG}"')
    # It is signed once.
    assert len(_signatures(double)) == 1


def _signatures(double: S3Double) -> set[str]:
    return {it.headers["Authorization"] for it in double.asked if it.method == "GET"}


def test_the_key_itself_is_sent_nowhere(double: S3Double, reached: Reached) -> None:
    assert read(reached.source()) == _WEIGHTS
    for request in double.asked:
        assert SECRET_KEY not in str(request.headers)
        # RunPod's volumes know no presigned URLs.
        assert "?" not in request.path


def test_no_login_follows_to_another_host(double: S3Double, tmp_path: Path) -> None:
    asked: list[Request] = []

    def elsewhere(request: Request) -> Answer:
        asked.append(request)
        return ranged(request, _WEIGHTS, etag=f'"{_ETAG}"')

    def here(request: Request) -> Answer:
        assert request.headers["X-Amz-Security-Token"] == "a-session-token"
        if request.method == "HEAD":
            return ranged(request, _WEIGHTS, etag=f'"{_ETAG}"')
        return redirect(f"{other}/models/x")

    with serve(answering=elsewhere) as other, serve(answering=here) as url:
        variables = {
            **double.variables,
            "AWS_ENDPOINT_URL": url,
            "AWS_SESSION_TOKEN": "a-session-token",
        }
        assert read(source_for(_URL, hosts_with(tmp_path, variables)), 9) == _WEIGHTS[9:]
    (request,) = asked
    assert request.headers["Authorization"] is None
    assert "a-session-token" not in str(request.headers)


def test_an_expired_signature_is_renewed_in_the_middle_of_a_file(
    double: S3Double, reached: Reached
) -> None:
    double.cuts = [1_200_000]
    source = reached.source()
    got = bytearray()
    with contextlib.closing(source.open(0, None)) as stream:
        with pytest.raises(TransientError):
            drain(stream, got)
        validator = stream.validator
    double.expire()
    assert got + read(source, len(got), validator=validator) == _WEIGHTS
    assert len(_signatures(double)) == 2


def test_a_replaced_file_is_not_the_pinned_one(double: S3Double, reached: Reached) -> None:
    source = reached.source(pin=Pin(etag=_ETAG))
    assert read(source, 0, 5) == _WEIGHTS[:5]
    double.put("models", _KEY, _WEIGHTS[::-1])
    newer = hashlib.md5(_WEIGHTS[::-1]).hexdigest()
    for step in (source.pin, lambda: source.open(5, None), lambda: source.open(5, None)):
        with pytest.raises(ChangedError, match=f"its ETag is {newer}, not {_ETAG}"):
            step()


def test_a_file_that_is_replaced_while_it_is_read_comes_from_its_start(
    double: S3Double, reached: Reached
) -> None:
    source = reached.source()
    validator = source.open(0, 5).validator
    double.put("models", _KEY, _WEIGHTS[::-1])
    with contextlib.closing(source.open(5, None, validator=validator)) as stream:
        drain(stream, arrived := bytearray())
        assert (stream.start, bytes(arrived)) == (0, _WEIGHTS[::-1])


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://models/none", "s3://models/none is not there: NoSuchKey: The specified key does"),
        ("s3://none/x", "s3://none/x is not there: NoSuchBucket: The specified bucket does"),
    ],
)
def test_what_does_not_exist_is_gone(reached: Reached, url: str, words: str) -> None:
    source = reached.source(url)
    for step in (source.pin, lambda: source.open(0, None)):
        with pytest.raises(GoneError, match=words):
            step()


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (_NO_KEY, "AccessDenied: Access Denied"),
        ({"AWS_ACCESS_KEY_ID": OUTSIDER_ID, "AWS_SECRET_ACCESS_KEY": OUTSIDER_KEY}, "AccessDenied"),
        ({"AWS_ACCESS_KEY_ID": "AKIAOTHER"}, "InvalidAccessKeyId: The AWS Access Key Id you"),
        ({"AWS_SECRET_ACCESS_KEY": "a-mistyped-secret"}, "SignatureDoesNotMatch"),
    ],
)
def test_whoever_may_not_read_learns_which_variables_to_set(
    reached: Reached, variables: dict[str, str], words: str
) -> None:
    source = reached.source(variables=variables)
    for step in (source.pin, lambda: source.open(0, None)):
        with pytest.raises(AccessDeniedError, match=f"may not be read: {words}") as caught:
            step()
        assert "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in caught.value.remedy
        assert "Signature=" not in caught.value.in_words()
        assert "mistyped" not in caught.value.in_words()


def test_an_unfinished_key_is_said(reached: Reached) -> None:
    with pytest.raises(AccessDeniedError, match="AWS_SECRET_ACCESS_KEY is not set, but"):
        reached.source(variables={"AWS_SECRET_ACCESS_KEY": ""}).pin()
    with pytest.raises(AccessDeniedError, match=r"The config profile \(other\) could not be found"):
        reached.source(variables={"AWS_PROFILE": "other"}).pin()


def test_a_public_bucket_is_read_without_any_key(double: S3Double, reached: Reached) -> None:
    double.bucket("public", is_public=True)
    double.put("public", "x", _WEIGHTS)
    double.asked.clear()
    source = reached.source("s3://public/x", variables=_NO_KEY)
    assert source.pin().size == len(_WEIGHTS)
    assert read(source, 7) == _WEIGHTS[7:]
    assert {it.headers["Authorization"] for it in double.asked} == {None}


def test_key_region_and_endpoint_come_from_the_files_of_aws(
    double: S3Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / "credentials").write_text(
        f"[pod]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET_KEY}\n"
    )
    (tmp_path / "config").write_text(
        f"[profile pod]\nregion = {double.region}\nendpoint_url = {double.url}\n"
    )
    variables = {
        "AWS_PROFILE": "pod",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
    }
    assert read(source_for(_URL, hosts_with(tmp_path, variables)), 9) == _WEIGHTS[9:]


def test_the_endpoint_of_s3_takes_precedence_over_that_of_all_services(
    double: S3Double, reached: Reached
) -> None:
    source = reached.source(
        variables={"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ENDPOINT_URL_S3": double.url}
    )
    assert source.pin().sha256 == _SHA256


def test_the_region_of_a_bucket_is_learnt(double: S3Double, reached: Reached) -> None:
    hosts = reached.hosts({"AWS_REGION": "us-west-2"})
    assert read(source_for(_URL, hosts), 9) == _WEIGHTS[9:]
    asked = len(double.asked)
    assert source_for(_URL, hosts).pin().sha256 == _SHA256
    assert len(double.asked) == asked + 1


def test_what_is_no_region_is_not_learnt(double: S3Double, reached: Reached) -> None:
    source = reached.source()
    double.answers = [Answer(status=400, headers={"x-amz-bucket-region": "evil.example/#"})] * 2
    with pytest.raises(StatusError, match="it answered 400"):
        source.pin()
    assert source.pin().sha256 == _SHA256


def test_a_busy_service_is_asked_again(double: S3Double, reached: Reached) -> None:
    double.answers = [Answer(status=503)] * 2
    assert reached.source().pin().sha256 == _SHA256
    double.answers = [Answer(status=429, headers={"Retry-After": "7"})]
    with pytest.raises(TransientError, match=f"{_URL.replace('+', '[+]')} could not") as caught:
        reached.source().open(0, None)
    assert caught.value.wait_s == 7


def test_a_server_out_of_reach_is_named_without_a_signature(reached: Reached) -> None:
    with pytest.raises(TransientError) as caught:
        reached.source(variables={"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}).open(0, None)
    assert caught.value.message.startswith(f"{_URL} could not be read: ")
    assert "Signature=" not in caught.value.in_words()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(status=307, headers={"Location": "http://other.example/x"}), StatusError),
        (Answer(status=400), StatusError),
        (Answer(status=301), StatusError),
        (Answer(status=403), AccessDeniedError),
    ],
)
def test_an_answer_that_leads_nowhere_is_said(
    double: S3Double, reached: Reached, answer: Answer, error: type[ComfyError]
) -> None:
    double.answers = [answer, Answer(status=answer.status, body=b"<html>&lt;\x1b[1m")]
    with pytest.raises(error, match=_URL.replace("+", "[+]")) as caught:
        reached.source().pin()
    assert "\x1b" not in caught.value.in_words()


def test_a_model_arrives_through_cut_connections_and_an_expired_signature(
    double: S3Double, reached: Reached, tmp_path: Path
) -> None:
    def cut_and_expire(sent: int) -> None:
        sizes.append(sent)
        if len(sizes) == 10:
            double.expire()

    sizes: list[int] = []
    double.cuts, double.rate = [1_200_000, 900_000], 4_000_000
    double.sent = cut_and_expire
    model = Model(
        sha256=_SHA256,
        size=len(_WEIGHTS),
        sources=[ModelSource(url=_URL, pin=Pin(etag=_ETAG))],
    )
    store = ModelStore(tmp_path / "store")
    fetch([model], store, reached.hosts())
    assert store.path_of(_SHA256).read_bytes() == _WEIGHTS
    assert sum(sizes) <= 1.05 * len(_WEIGHTS)
    assert len(_signatures(double)) > 1
