from __future__ import annotations

import pytest

from comfy_errors import InvalidInputError
from rp_handler.outputs.s3_settings import S3Settings

_KEY = {"BUCKET_ACCESS_KEY_ID": "AKIA", "BUCKET_SECRET_ACCESS_KEY": "SECRET"}
_ACCOUNT = "0123456789abcdef0123456789abcdef"


def _of(url: str, **variables: str) -> S3Settings:
    return S3Settings.of({"BUCKET_ENDPOINT_URL": url, **_KEY, **variables})


@pytest.mark.parametrize(
    ("url", "endpoint", "bucket", "region"),
    [
        # As in worker-comfyui's documentation.
        (
            "https://my-bucket.s3.eu-central-1.amazonaws.com",
            "https://s3.eu-central-1.amazonaws.com",
            "my-bucket",
            "eu-central-1",
        ),
        ("https://a.b.s3.amazonaws.com/", "https://s3.amazonaws.com", "a.b", None),
        (
            "https://s3.us-west-2.amazonaws.com/my-bucket",
            "https://s3.us-west-2.amazonaws.com",
            "my-bucket",
            "us-west-2",
        ),
        (
            "https://b.s3.eu-central-003.backblazeb2.com",
            "https://s3.eu-central-003.backblazeb2.com",
            "b",
            "eu-central-003",
        ),
        (
            "https://b.nyc3.digitaloceanspaces.com",
            "https://nyc3.digitaloceanspaces.com",
            "b",
            "nyc3",
        ),
        (
            f"https://{_ACCOUNT}.r2.cloudflarestorage.com/b",
            f"https://{_ACCOUNT}.r2.cloudflarestorage.com",
            "b",
            None,
        ),
        ("https://s3.fr-par.scw.cloud/b", "https://s3.fr-par.scw.cloud", "b", "fr-par"),
        ("http://minio:9000/b", "http://minio:9000", "b", None),
    ],
)
def test_the_url_names_service_bucket_and_region(
    url: str, endpoint: str, bucket: str, region: str | None
) -> None:
    settings = _of(url)
    assert (settings.endpoint, settings.bucket, settings.region) == (endpoint, bucket, region)
    assert settings.prefix == "comfy/outputs"
    assert "SECRET" not in repr(settings)


def test_what_follows_the_bucket_is_where_names_start() -> None:
    settings = _of("http://minio:9000/b/a/c/", AWS_REGION="mars")
    assert (settings.bucket, settings.prefix) == ("b", "a/c/comfy/outputs")
    assert settings.region == "mars"


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://minio:9000", "BUCKET_ENDPOINT_URL names no bucket: minio"),
        (f"https://{_ACCOUNT}.r2.cloudflarestorage.com", "names no bucket"),
        ("https://s3.eu-central-1.amazonaws.com", "names no bucket"),
        ("my-bucket", "is not the URL of a bucket"),
        ("s3://my-bucket", "is not the URL of a bucket"),
        ("https://user:SECRET@minio/b", "is not the URL of a bucket"),
        ("http://[::1/b", "is not the URL of a bucket"),
        ("http://minio:port/b", "is not the URL of a bucket"),
    ],
)
def test_a_url_that_names_no_bucket_is_refused(url: str, sentence: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        _of(url)
    assert sentence in caught.value.message
    assert "https://HOST/BUCKET" in caught.value.remedy
    assert "SECRET" not in caught.value.message


def test_what_is_not_set_is_named() -> None:
    with pytest.raises(InvalidInputError, match="BUCKET_SECRET_ACCESS_KEY is not set"):
        _of("http://minio/b", BUCKET_SECRET_ACCESS_KEY="")
    with pytest.raises(InvalidInputError, match="URL, .*ID, .*KEY are not set") as caught:
        S3Settings.of({})
    assert "OUTPUT_MODE=base64" in caught.value.remedy
