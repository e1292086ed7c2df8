from __future__ import annotations

import pytest

from comfy_errors import InvalidInputError
from rp_handler.outputs.modes import check_output_mode, named_bucket

_S3 = {
    "BUCKET_ENDPOINT_URL": "http://minio/b",
    "BUCKET_ACCESS_KEY_ID": "AKIA",
    "BUCKET_SECRET_ACCESS_KEY": "SECRET",
}


def test_a_mode_needs_its_variables() -> None:
    for mode in ("files", "base64"):
        assert check_output_mode(mode, {}) == mode
    assert check_output_mode("gcs", {"GCS_BUCKET": "results"}) == "gcs"
    assert check_output_mode("s3", _S3) == "s3"
    with pytest.raises(InvalidInputError, match="GCS_BUCKET is not set") as caught:
        check_output_mode("gcs", {})
    assert "OUTPUT_MODE=base64" in caught.value.remedy
    with pytest.raises(InvalidInputError, match="BUCKET_ENDPOINT_URL"):
        check_output_mode("s3", {"GCS_BUCKET": "results"})


def test_another_mode_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(InvalidInputError, match='"paper" is not an output mode') as caught:
        check_output_mode("paper", {})
    assert caught.value.remedy == "Use files, base64, gcs or s3."


def test_the_bucket_of_the_guide_takes_precedence() -> None:
    assert named_bucket({}) is None
    assert named_bucket(_S3) == "s3"
    assert named_bucket({**_S3, "GCS_BUCKET": "results"}) == "gcs"
    assert named_bucket({**_S3, "GCS_BUCKET": ""}) == "s3"
