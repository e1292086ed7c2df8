"""Outputs in S3, through Amazon's own client, at a real server."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from comfy_errors import UnavailableError
from rp_handler.errors import OutputUploadError
from rp_handler.outputs.s3 import S3Bucket
from rp_handler.outputs.s3_settings import S3Settings
from tests.http_server import Answer
from tests.model_hosts.s3 import KEY_ID, OUTSIDER_ID, OUTSIDER_KEY, SECRET_KEY, S3Double

_BUSY = Answer(status=503, body=b"")


def _bucket(amazon: S3Double, name: str = "results", **variables: str) -> S3Bucket:
    environment = {
        "BUCKET_ENDPOINT_URL": f"{amazon.url}/{name}",
        "BUCKET_ACCESS_KEY_ID": KEY_ID,
        "BUCKET_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_REGION": amazon.region,
    }
    return S3Bucket(S3Settings.of({**environment, **variables}))


def _keys(amazon: S3Double) -> list[str]:
    listed = amazon.client.list_objects_v2(Bucket="results")
    return [it["Key"] for it in listed.get("Contents", [])]


def test_a_file_is_uploaded_with_its_type_and_its_url_can_be_fetched(
    amazon: S3Double, picture: Path
) -> None:
    bucket = _bucket(amazon)
    bucket.require()
    for _ in range(2):
        entry = bucket.upload(picture, "a b/x+y.png", "image/png")
    assert set(entry) == {"type", "data"}
    assert entry["type"] == "s3_url"
    answer = requests.get(entry["data"], timeout=10)
    assert answer.content == picture.read_bytes()
    assert answer.headers["Content-Type"] == "image/png"
    assert "X-Amz-Expires=604800" in entry["data"]
    assert _keys(amazon) == ["a b/x+y.png"]


def test_a_large_file_is_uploaded_in_parts(amazon: S3Double, tmp_path: Path) -> None:
    (path := tmp_path / "x.mp4").write_bytes(bytes(65 << 20))
    url = _bucket(amazon).upload(path, "x.mp4", "video/mp4")["data"]
    assert int(requests.get(url, timeout=60).headers["Content-Length"]) == 65 << 20
    assert sum("partNumber=" in it.path for it in amazon.asked) == 2


def test_errors_that_pass_are_tried_again(amazon: S3Double, picture: Path) -> None:
    bucket = _bucket(amazon)
    amazon.answers = [_BUSY, _BUSY]
    bucket.upload(picture, "x.png", "image/png")
    assert _keys(amazon) == ["x.png"]
    amazon.answers = [_BUSY] * 9
    with pytest.raises(OutputUploadError, match="s3://results/y.png cannot be written: 503"):
        bucket.upload(picture, "y.png", "image/png")


def test_a_bucket_that_is_not_there_is_named_at_the_start(amazon: S3Double) -> None:
    with pytest.raises(UnavailableError, match="the bucket resulst is not there") as caught:
        _bucket(amazon, "resulst").require()
    assert "BUCKET_ENDPOINT_URL" in caught.value.remedy


@pytest.mark.parametrize(
    "variables",
    [{"BUCKET_ACCESS_KEY_ID": "AKIAOTHER"}, {"BUCKET_SECRET_ACCESS_KEY": "another-secret"}],
)
def test_a_key_that_is_not_valid_is_refused_at_the_start(
    amazon: S3Double, variables: dict[str, str]
) -> None:
    with pytest.raises(UnavailableError, match="refuses the key") as caught:
        _bucket(amazon, **variables).require()
    assert "another-secret" not in f"{caught.value.message} {caught.value.remedy}"


def test_a_key_that_may_not_list_is_not_refused_before_it_fails_to_write(
    amazon: S3Double, picture: Path
) -> None:
    key = {"BUCKET_ACCESS_KEY_ID": OUTSIDER_ID, "BUCKET_SECRET_ACCESS_KEY": OUTSIDER_KEY}
    bucket = _bucket(amazon, **key)
    bucket.require()
    with pytest.raises(OutputUploadError, match="AccessDenied") as caught:
        bucket.upload(picture, "x.png", "image/png")
    assert "s3:PutObject" in caught.value.remedy


def test_a_server_that_is_not_there_is_said(amazon: S3Double) -> None:
    bucket = _bucket(amazon, BUCKET_ENDPOINT_URL="http://127.0.0.1:9/results")
    with pytest.raises(UnavailableError, match="cannot be reached at http://127.0.0.1:9"):
        bucket.require()
