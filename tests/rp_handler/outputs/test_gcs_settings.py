from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfy_errors import ComfyError, InvalidInputError, UnavailableError
from rp_handler.outputs.gcs_settings import GcsSettings

_KEY = {"type": "service_account", "private_key": "PRIVATE KEY"}


def _of(**variables: str) -> GcsSettings:
    return GcsSettings.of({"GCS_BUCKET": "results", **variables})


def test_the_defaults_are_those_of_the_guide() -> None:
    assert _of() == GcsSettings(
        bucket="results",
        project=None,
        prefix="comfy/outputs",
        retries=3,
        retry_base_sleep_s=0.5,
        is_public=False,
        signed_url_ttl_s=0,
        validates=True,
        key=None,
        endpoint=None,
    )
    # An empty variable, as in `-e GCS_PREFIX="$GCS_PREFIX"`, is one that is not set.
    empty = {"GCS_PREFIX": "", "GCS_RETRIES": "", "GCS_PUBLIC": "", "GCS_VALIDATE": ""}
    assert _of(**empty) == _of()


def test_every_variable_counts(tmp_path: Path) -> None:
    (path := tmp_path / "key.json").write_text(json.dumps(_KEY))
    settings = _of(
        GOOGLE_CLOUD_PROJECT="mine",
        GCS_PREFIX="/a/b/",
        GCS_RETRIES="5",
        GCS_RETRY_BASE_SLEEP="0.1",
        GCS_PUBLIC="TRUE",
        GCS_SIGNED_URL_TTL="3600",
        GCS_VALIDATE="false",
        GOOGLE_APPLICATION_CREDENTIALS=str(path),
        STORAGE_EMULATOR_HOST="localhost:4443",
    )
    assert settings == GcsSettings(
        bucket="results",
        project="mine",
        prefix="a/b",
        retries=5,
        retry_base_sleep_s=0.1,
        is_public=True,
        signed_url_ttl_s=3600,
        validates=False,
        key=_KEY,
        endpoint="http://localhost:4443",
    )
    assert "PRIVATE KEY" not in repr(settings)
    assert _of(GOOGLE_CLOUD_PROJECT="mine", GCS_PROJECT="other").project == "other"
    assert _of(GCS_PREFIX="/").prefix == ""


def test_a_key_in_a_variable_takes_precedence_over_a_file() -> None:
    settings = _of(
        GCS_CREDENTIALS_JSON=json.dumps(_KEY), GOOGLE_APPLICATION_CREDENTIALS="/no/such/file"
    )
    assert settings.key == _KEY


def test_a_file_of_another_kind_is_left_to_the_library_of_google(tmp_path: Path) -> None:
    (path := tmp_path / "key.json").write_text('{"type": "external_account"}')
    assert _of(GOOGLE_APPLICATION_CREDENTIALS=str(path)).key is None


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"GCS_BUCKET": ""}, "GCS_BUCKET is not set"),
        ({"GCS_BUCKET": "gs://results/x"}, "GCS_BUCKET is 'gs://results/x', which is not the name"),
        ({"GCS_RETRIES": "0"}, "GCS_RETRIES is '0', which is no number from 1 to 100"),
        ({"GCS_RETRIES": "2.5"}, "GCS_RETRIES is '2.5', which is no whole number"),
        ({"GCS_RETRIES": "nan"}, "GCS_RETRIES is 'nan'"),
        ({"GCS_RETRY_BASE_SLEEP": "-1"}, "GCS_RETRY_BASE_SLEEP is '-1'"),
        ({"GCS_RETRY_BASE_SLEEP": "1e400"}, "GCS_RETRY_BASE_SLEEP is '1e400'"),
        ({"GCS_PUBLIC": "maybe"}, "GCS_PUBLIC is 'maybe', which is neither true nor false"),
        ({"GCS_SIGNED_URL_TTL": "604801"}, "from 0 to 604800"),
        ({"GCS_SIGNED_URL_TTL": "1h"}, "GCS_SIGNED_URL_TTL is '1h'"),
        ({"GCS_PREFIX": "a\nb"}, "GCS_PREFIX has characters"),
        ({"GCS_CREDENTIALS_JSON": '{"private_key": "PRIVATE KEY"'}, "GCS_CREDENTIALS_JSON is not"),
        ({"GCS_CREDENTIALS_JSON": '["PRIVATE KEY"]'}, "GCS_CREDENTIALS_JSON is not the JSON"),
        ({"GCS_CREDENTIALS_JSON": '{"type": "authorized_user"}'}, "not the JSON of a service"),
    ],
)
def test_a_fault_is_one_sentence_that_names_the_variable(
    variables: dict[str, str], sentence: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        _of(**variables)
    assert sentence in caught.value.message
    assert caught.value.remedy
    assert "PRIVATE KEY" not in repr(_chain(caught.value))


def test_a_key_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=f"cannot be read: .*{tmp_path}/none.json"):
        _of(GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "none.json"))
    (tmp_path / "none.json").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInputError, match="is not the JSON of a service account's key"):
        _of(GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "none.json"))


def _chain(error: BaseException | None) -> list[str]:
    """What the error and those that it comes from say."""
    texts = []
    while isinstance(error, BaseException):
        texts += [str(error), getattr(error, "remedy", "") if isinstance(error, ComfyError) else ""]
        error = error.__cause__ or error.__context__
    return texts
