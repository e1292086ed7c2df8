"""Credentials stay out of messages."""

from __future__ import annotations

import pytest

from comfy_http.redaction import document_without_secrets, secret_values, without_secrets


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:secret@host/x", "https://***@host/x"),
        ("fatal: 'https://secret@host/x' not found", "fatal: 'https://***@host/x' not found"),
        ("ssh://git:secret@host/x", "ssh://git:***@host/x"),
        ("ssh://git@host/x", "ssh://git@host/x"),
        ("git@host:owner/x", "git@host:owner/x"),
        ("https://host/@scope/x@1", "https://host/@scope/x@1"),
        ("two: http://a:secret@h https://secret@h", "two: http://***@h https://***@h"),
        (
            "url: /a.zip?X-Amz-Signature=abc&x=1&token=def (gone)",
            "url: /a.zip?X-Amz-Signature=***&x=1&token=*** (gone)",
        ),
        ("https://host/x#access_token=secret", "https://host/x#access_token=***"),
        ("hf://hf_secret@org/repo/x", "hf://***@org/repo/x"),
        ("s3://secret@bucket/x gs://bucket/a@b", "s3://***@bucket/x gs://bucket/a@b"),
        ("hf://org/repo@v1/x", "hf://org/repo@v1/x"),
        ("https://host/x?file=monkey.zip", "https://host/x?file=monkey.zip"),
    ],
)
def test_the_credentials_of_every_url_are_hidden(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


def test_tokens_that_a_host_repeats_are_hidden() -> None:
    token = "hf_" + "aB3" * 11
    assert without_secrets(f"no user has {token}.") == "no user has hf_***."
    assert without_secrets(f"Authorization: Bearer {token}") == "Authorization: Bearer ***"
    assert without_secrets("hf_upscaler/model.safetensors") == "hf_upscaler/model.safetensors"


def test_values_of_secret_variables_are_known_and_those_of_others_are_not() -> None:
    variables = {
        "HF_TOKEN": "12345678",
        "MY_API_KEY": "longer than that",
        "TOKENIZERS_PARALLELISM": "false",
        "GOOGLE_APPLICATION_CREDENTIALS": "/a/file.json",
        "HF_TOKEN_PATH": "/another/file",
        "GCS_CREDENTIALS_JSON": '["not an object"]',
        "PATH": "/usr/bin:/bin",
    }
    assert secret_values(variables) == ['["not an object"]', "longer than that", "12345678"]


def test_a_document_has_no_secret_in_any_text() -> None:
    document = {"a": ["x 12345678", {"b": 12345678}], "c": ("https://u:p@h", None)}
    assert document_without_secrets(document, ["12345678"]) == {
        "a": ["x ***", {"b": 12345678}],
        "c": ["https://***@h", None],
    }
