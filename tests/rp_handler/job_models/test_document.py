from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from comfy_files.json_faults import faults_in_words
from rp_handler.job_models.document import JobModel

SHA256 = "Ab" * 32


def model(**changes: Any) -> JobModel:
    usual = {"source": "hf://org/name/x.safetensors", "target_path": "loras/x.safetensors"}
    return JobModel.model_validate(usual | changes)


@pytest.mark.parametrize(
    "source",
    [
        "hf://org/name@main/inner/x.safetensors",
        "https://huggingface.co/org/name/resolve/main/x.safetensors",
        "civitai://2?file=3",
        "https://civitai.com/models/1?modelVersionId=2",
        "urn:air:sdxl:lora:civitai:1@2",
        "https://example.org/x.safetensors?sig=1",
        "http://example.org:8080/x",
        "gs://bucket/x",
        "s3://bucket/x",
    ],
)
def test_sources_of_every_kind_are_accepted(source: str) -> None:
    assert model(source=source).source == source


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("/etc/passwd", "is not the address of a model"),
        ("models/x.safetensors", "is not the address of a model"),
        ("file:///etc/passwd", "starts with file://"),
        ("ftp://h/x", "starts with ftp://"),
        ("hf://org/name/", "names a folder on the Hub"),
        ("hf://name", "must name a file on the Hub"),
        ("hf://org/name/../../x", "must have a path without '..'"),
        ("https://huggingface.co/org/name", "is not the page of a file"),
        ("civitai://x", "must have a number"),
        ("urn:air:sdxl:lora:other:1@2", "is of 'other'"),
        ("https://me:secret@h/x", "has a login"),
        ("https://[", "is not a valid URL"),
        ("gs://bucket", "must be gs://BUCKET/FILE"),
        ("https://h/\x1b[31m", "has a control character"),
        ("https://h/\ud800", "half a character"),
        ("https://h/" + "x" * 9000, "more than 8192 characters"),
    ],
)
def test_other_sources_are_refused(source: str, fault: str) -> None:
    with pytest.raises(ValidationError) as caught:
        model(source=source)
    words = faults_in_words(caught.value)
    assert words.startswith("'source' ")
    assert fault in words
    assert words.isprintable()
    assert len(words) < 400


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("../x.safetensors", "without '..'"),
        ("loras/../../x.safetensors", "without '..'"),
        ("/loras/x.safetensors", "not an absolute one"),
        ("C:/x.safetensors", "not an absolute one"),
        ("loras\\x.safetensors", "forward slashes"),
        ("loras/x\0.safetensors", "control character"),
        ("loras/\ud800.safetensors", "half a character"),
        (f"loras/{'é' * 130}.safetensors", "longer than 255 bytes"),
        ("loras/x.safetensors/", "slash"),
        ("", "relative path"),
        *(
            (f"loras/x{suffix}", "can run code")
            for suffix in (".ckpt", ".PT", ".bin", ".pth", ".pkl", ".pt2", ".py", ".json", "")
        ),
    ],
)
def test_paths_that_leave_their_folder_or_are_of_unsafe_formats_are_refused(
    path: str, fault: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        model(target_path=path)
    words = faults_in_words(caught.value)
    assert words.startswith("'target_path' ")
    assert fault in words
    assert words.isprintable()


def test_a_path_and_a_sha256_have_one_form() -> None:
    it = model(target_path="loras//./x.safetensors", sha256=f"sha256:{SHA256}")
    assert (it.target_path, it.sha256) == ("loras/x.safetensors", "ab" * 32)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"sha256": "ab"}, "'sha256' must be 64 hex digits"),
        ({"sha265": SHA256}, "'sha265' is not a known key"),
        ({"source": 1}, "'source' must be text in double quotes, not a number"),
    ],
)
def test_misspelt_keys_and_other_values_are_refused(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValidationError) as caught:
        model(**changes)
    assert faults_in_words(caught.value) == fault
