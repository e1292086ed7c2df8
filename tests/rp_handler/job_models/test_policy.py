from __future__ import annotations

import pytest

from comfy_errors import InvalidInputError
from rp_handler.job_models.policy import ModelPolicy, host_of, model_policy

HUB, CIVITAI = "huggingface.co", "civitai.com"


def test_without_hosts_jobs_bring_no_models() -> None:
    assert model_policy({}) is None
    assert model_policy({"COMFY_JOB_MODELS": "  "}) is None


def test_hosts_and_the_limit_are_read_from_the_environment() -> None:
    variables = {"COMFY_JOB_MODELS": " HuggingFace.co, *.Example.com gs://My-bucket"}
    assert model_policy(variables) == ModelPolicy(
        hosts=(HUB, "*.example.com", "gs://My-bucket"), limit_bytes=50 * 10**9
    )
    limited = model_policy({**variables, "COMFY_JOB_MODELS_GB": "0.5"})
    assert limited is not None
    assert limited.limit_bytes == 5 * 10**8


@pytest.mark.parametrize(
    "text", ["https://huggingface.co", "*", "*.*.com", "a/b", "hf://org", "gs://", "a..b", "a_b\n-"]
)
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="is not the name of a host"):
        model_policy({"COMFY_JOB_MODELS": text})


@pytest.mark.parametrize("number", ["0", "-1", "many", "nan"])
def test_a_limit_that_is_none_is_refused(number: str) -> None:
    with pytest.raises(InvalidInputError, match="COMFY_JOB_MODELS_GB"):
        model_policy({"COMFY_JOB_MODELS": HUB, "COMFY_JOB_MODELS_GB": number})


@pytest.mark.parametrize(
    ("source", "host"),
    [
        ("hf://org/name/x", HUB),
        ("HUGGINGFACE://org/name/x", HUB),
        ("https://hf.co/org/name/resolve/main/x", HUB),
        ("https://mirror.test/hub/org/name/resolve/main/x", HUB),
        ("civitai://2", CIVITAI),
        ("urn:air:sdxl:lora:civitai:1@2", CIVITAI),
        ("https://civitai.red/models/1?modelVersionId=2", CIVITAI),
        ("https://Models.Example.COM.:8443/x", "models.example.com"),
        ("gs://bucket/a/b", "gs://bucket"),
        ("s3://bucket/a/b", "s3://bucket"),
    ],
)
def test_the_host_of_a_source_is_the_one_that_it_states(source: str, host: str) -> None:
    assert host_of(source, {"HF_ENDPOINT": "https://mirror.test/hub"}) == host


@pytest.mark.parametrize(
    ("source", "is_allowed"),
    [
        ("hf://org/name/x", True),
        ("https://a.example.com/x", True),
        ("https://a.b.example.com/x", True),
        ("https://example.com/x", False),
        ("https://notexample.com/x", False),
        ("https://huggingface.co.evil.test/x", False),
        ("https://evil.test/huggingface.co", False),
        ("https://evil.test?huggingface.co", False),
        ("https://evil.test#a.example.com", False),
        ("civitai://2", False),
        ("gs://bucket/x", True),
        ("gs://bucket-2/x", False),
        ("s3://bucket/x", False),
    ],
)
def test_only_listed_hosts_are_allowed(source: str, *, is_allowed: bool) -> None:
    policy = ModelPolicy(hosts=(HUB, "*.example.com", "gs://bucket"))
    if is_allowed:
        policy.require_allowed(source, {})
    else:
        with pytest.raises(InvalidInputError, match="are not allowed here"):
            policy.require_allowed(source, {})
