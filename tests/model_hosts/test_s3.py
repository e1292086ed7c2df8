"""The S3 server, through Amazon's own client."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator

import boto3
import pytest
import requests
from botocore.exceptions import ClientError

from tests.model_hosts.s3 import OUTSIDER_ID, OUTSIDER_KEY, S3Double, s3

_WEIGHTS = bytes(range(256)) * 4000


@pytest.fixture
def double() -> Iterator[S3Double]:
    with s3() as it:
        it.bucket("models")
        it.put("models", "up scale/a+b.safetensors", _WEIGHTS, ChecksumAlgorithm="SHA256")
        yield it


def _presigned(double: S3Double, method: str = "get_object", **options: object) -> str:
    what = {"Bucket": "models", "Key": "up scale/a+b.safetensors"}
    url: str = double.client.generate_presigned_url(method, Params=what, **options)
    return url


def test_what_is_uploaded_is_downloaded(double: S3Double) -> None:
    found = double.client.get_object(
        Bucket="models", Key="up scale/a+b.safetensors", ChecksumMode="ENABLED"
    )
    assert found["Body"].read() == _WEIGHTS
    digest = hashlib.sha256(_WEIGHTS).digest()
    assert base64.b64decode(found["ChecksumSHA256"]) == digest


def test_an_upload_in_parts_has_no_checksum_of_the_whole(double: S3Double) -> None:
    name = {"Bucket": "models", "Key": "large"}
    upload = double.client.create_multipart_upload(**name, ChecksumAlgorithm="SHA256")["UploadId"]
    parts = [
        double.client.upload_part(
            **name, UploadId=upload, PartNumber=number, Body=part, ChecksumAlgorithm="SHA256"
        )
        for number, part in ((1, bytes(5 << 20)), (2, b"end"))
    ]
    listed = [
        {"PartNumber": number, "ETag": it["ETag"], "ChecksumSHA256": it["ChecksumSHA256"]}
        for number, it in enumerate(parts, start=1)
    ]
    double.client.complete_multipart_upload(
        **name, UploadId=upload, MultipartUpload={"Parts": listed}
    )
    told = double.client.head_object(**name, ChecksumMode="ENABLED")
    assert told["ETag"].endswith('-2"')
    assert (told["ChecksumType"], told["ChecksumSHA256"][-2:]) == ("COMPOSITE", "-2")


def test_a_presigned_url_is_good_for_one_method_and_some_time(double: S3Double) -> None:
    url = _presigned(double, ExpiresIn=2)
    assert requests.get(url, headers={"Range": "bytes=5-6"}, timeout=10).content == _WEIGHTS[5:7]
    assert requests.head(url, timeout=10).status_code == 403
    other = requests.get(url.replace("safetensors", "ckpt"), timeout=10)
    assert (other.status_code, "SignatureDoesNotMatch" in other.text) == (403, True)
    assert requests.head(_presigned(double, "head_object"), timeout=10).ok
    time.sleep(2.5)
    late = requests.get(url, timeout=10)
    assert (late.status_code, "Request has expired" in late.text) == (403, True)
    url = _presigned(double)
    double.expire()
    assert requests.get(url, timeout=10).status_code == 403


def test_a_range_of_a_replaced_file_is_the_whole_new_one(double: S3Double) -> None:
    headers = {"Range": "bytes=5-6", "If-Range": '"another"'}
    response = requests.get(_presigned(double), headers=headers, timeout=10)
    assert (response.status_code, response.content) == (200, _WEIGHTS)


def test_who_has_no_key_reads_public_buckets_only(double: S3Double) -> None:
    assert requests.get(f"{double.url}/models/x", timeout=10).status_code == 403
    double.bucket("public", is_public=True)
    double.put("public", "x", b"x")
    assert requests.get(f"{double.url}/public/x", timeout=10).content == b"x"


@pytest.mark.parametrize(
    ("key_id", "code"), [(OUTSIDER_ID, "AccessDenied"), ("AKIAOTHER", "InvalidAccessKeyId")]
)
def test_who_has_no_rights_reads_nothing(double: S3Double, key_id: str, code: str) -> None:
    client = boto3.client(
        "s3",
        endpoint_url=double.url,
        region_name=double.region,
        aws_access_key_id=key_id,
        aws_secret_access_key=OUTSIDER_KEY,
    )
    with pytest.raises(ClientError, match=code):
        client.get_object(Bucket="models", Key="x")


def test_what_does_not_exist_is_said(double: S3Double) -> None:
    for bucket, code in (("models", "NoSuchKey"), ("none", "NoSuchBucket")):
        with pytest.raises(ClientError, match=code):
            double.client.get_object(Bucket=bucket, Key="none")
