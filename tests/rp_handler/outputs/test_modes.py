from __future__ import annotations

from pathlib import Path

import pytest

from comfy_errors import InvalidInputError
from rp_handler.outputs.modes import check_output_mode, named_bucket, settings_of

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


def test_another_process_gets_the_settings_of_the_mode_and_the_key_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    gcs = {"GCS_BUCKET": "results", "GCS_RETRIES": "5", "GCS_PREFIX": ""}
    environment = {**_S3, **gcs, "GOOGLE_APPLICATION_CREDENTIALS": "key.json", "HOME": "/root"}
    path = tmp_path / "key.json"
    told = {
        "GCS_BUCKET": "results",
        "GCS_RETRIES": "5",
        "GOOGLE_APPLICATION_CREDENTIALS": str(path),
    }
    assert settings_of("gcs", environment) == (told, [path])
    assert settings_of("s3", environment) == (_S3, [])
    assert settings_of("files", environment) == ({}, [])
    variables, files = settings_of("gcs", {**environment, "GCS_CREDENTIALS_JSON": "{}"})
    assert files == []
    assert "GOOGLE_APPLICATION_CREDENTIALS" not in variables
