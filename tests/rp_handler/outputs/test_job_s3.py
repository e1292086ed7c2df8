"""Buckets that jobs name, at a real server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests

from comfy_errors import InvalidInputError, UnavailableError
from rp_handler.outputs.job_s3 import allows_job_buckets, read_s3_config
from rp_handler.outputs.s3 import S3Bucket
from tests.model_hosts.s3 import KEY_ID, SECRET_KEY, S3Double

_PRIVATE = {"COMFY_INPUT_PRIVATE_ADDRESSES": "1"}


def _config(**changes: Any) -> dict[str, Any]:
    return {
        "accessId": KEY_ID,
        "accessSecret": SECRET_KEY,
        "bucketName": "results",
        "endpointUrl": "https://s3.eu-central-1.amazonaws.com",
        **changes,
    }


def _opened(amazon: S3Double, *, environment: dict[str, str], **changes: Any) -> S3Bucket:
    config = _config(**{"endpointUrl": amazon.url, **changes})
    return S3Bucket(read_s3_config(config, {"AWS_REGION": amazon.region, **environment}))


def test_a_file_goes_to_the_bucket_of_the_job(amazon: S3Double, picture: Path) -> None:
    bucket = _opened(amazon, environment=_PRIVATE)
    bucket.require()
    entry = bucket.upload(picture, f"{bucket.prefix}/x.png", "image/png")
    assert requests.get(entry["data"], timeout=10).content == picture.read_bytes()
    listed = amazon.client.list_objects_v2(Bucket="results")["Contents"]
    assert [it["Key"] for it in listed] == ["comfy/outputs/x.png"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0x7f.1"])
def test_no_private_address_is_reached(amazon: S3Double, host: str) -> None:
    url = amazon.url.replace("127.0.0.1", host)
    amazon.asked.clear()
    with pytest.raises(InvalidInputError) as caught:
        _opened(amazon, environment={}, endpointUrl=url).require()
    assert "s3Config.endpointUrl leads to an address that is not of the public" in str(caught.value)
    assert "COMFY_INPUT_PRIVATE_ADDRESSES=1" in caught.value.remedy
    assert amazon.asked == []


def test_a_proxy_is_not_asked_for_what_cannot_be_checked(
    amazon: S3Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    amazon.asked.clear()
    monkeypatch.setenv("HTTP_PROXY", amazon.url)
    monkeypatch.setenv("http_proxy", amazon.url)
    with pytest.raises(InvalidInputError, match="through a proxy"):
        _opened(amazon, environment={}, endpointUrl="http://s3.example.org").require()
    assert amazon.asked == []


def test_what_is_wrong_at_the_service_names_the_keys_of_the_job(amazon: S3Double) -> None:
    with pytest.raises(UnavailableError, match="the bucket resulst is not there") as caught:
        _opened(amazon, environment=_PRIVATE, bucketName="resulst").require()
    assert caught.value.remedy == "Create it, or correct s3Config.endpointUrl."
    with pytest.raises(UnavailableError, match="refuses the key") as caught:
        _opened(amazon, environment=_PRIVATE, accessSecret="another").require()
    assert caught.value.remedy == "Correct s3Config.accessId and s3Config.accessSecret."


_AMAZON = "https://s3.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("url", "endpoint", "region"),
    [
        (_AMAZON, _AMAZON, "eu-west-1"),
        (f"{_AMAZON}/results", _AMAZON, "eu-west-1"),
        ("https://results.s3.eu-west-1.amazonaws.com/", _AMAZON, "eu-west-1"),
        ("https://x.example.co/storage/v1/s3", "https://x.example.co/storage/v1/s3", None),
        ("http://minio:9000/results/", "http://minio:9000", None),
    ],
)
def test_the_endpoint_is_the_service_with_or_without_the_bucket(
    url: str, endpoint: str, region: str | None
) -> None:
    settings = read_s3_config(_config(endpointUrl=url), {})
    assert (settings.endpoint, settings.region) == (endpoint, region)
    assert settings.bucket == "results"
    assert settings.only_public
    assert SECRET_KEY not in repr(settings)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("s3://bucket", "'s3Config' must be an object in braces, not text"),
        ({}, "'s3Config.accessId' is missing; 's3Config.accessSecret' is missing"),
        (_config(accessSecret=1), "'s3Config.accessSecret' must be text in double quotes"),
        (_config(accessSecret=""), "'s3Config.accessSecret'"),
        (_config(accessId="a\nb"), "'s3Config.accessId'"),
        (_config(bucketName="../x"), "'s3Config.bucketName'"),
        (_config(endpointUrl="minio:9000"), "'s3Config.endpointUrl' is not the URL"),
        (_config(endpointUrl="file:///etc/passwd"), "is not the URL"),
        (_config(endpointUrl="https://user:secret@minio"), "is not the URL"),
        (_config(endpointUrl="https://minio?x=1"), "is not the URL"),
        (_config(endpointUrl="https://[::1"), "is not the URL"),
        (_config(endpointUrl="https://minio:port"), "is not the URL"),
        (_config(endpointUrl="https://mi*nio"), "is not the URL"),
    ],
)
def test_what_cannot_be_used_is_named_without_the_key(config: object, said: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read_s3_config(config, {})
    assert said in caught.value.message
    assert SECRET_KEY not in caught.value.in_words()


def test_jobs_name_no_buckets_unless_the_operator_allows_it() -> None:
    assert not allows_job_buckets({})
    assert allows_job_buckets({"COMFY_JOB_S3_CONFIG": "1"})
    with pytest.raises(InvalidInputError, match="COMFY_JOB_S3_CONFIG is 'maybe'"):
        allows_job_buckets({"COMFY_JOB_S3_CONFIG": "maybe"})
