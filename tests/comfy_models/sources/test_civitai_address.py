from __future__ import annotations

import pytest

from comfy_models.sources.civitai_address import (
    CivitaiAddress,
    is_civitai_address,
    parse_civitai_address,
)

_SITE = "https://civitai.com"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("civitai://2", CivitaiAddress(version_id=2)),
        ("civitai://2?file=3", CivitaiAddress(version_id=2, file_id=3)),
        (f"{_SITE}/models/1?modelVersionId=2", CivitaiAddress(version_id=2)),
        (
            "https://www.civitai.red/models/1/some-name?modelVersionId=2#x",
            CivitaiAddress(version_id=2),
        ),
        (f"{_SITE}/model-versions/2", CivitaiAddress(version_id=2)),
        (f"{_SITE}/api/download/models/2", CivitaiAddress(version_id=2)),
        (f"{_SITE}/api/download/models/2?fileId=3", CivitaiAddress(version_id=2, file_id=3)),
        (
            f"{_SITE}/api/download/models/2?type=Model&format=SafeTensor&size=pruned&fp=fp16",
            CivitaiAddress(
                version_id=2,
                traits={
                    **{"type": "Model", "format": "SafeTensor"},
                    **{"size": "pruned", "fp": "fp16"},
                },
            ),
        ),
        (f"{_SITE}/api/v1/model-versions/2", CivitaiAddress(version_id=2)),
        (f"{_SITE}/api/v1/model-versions/mini/2", CivitaiAddress(version_id=2)),
        (
            "urn:air:sdxl:checkpoint:civitai:1@2",
            CivitaiAddress(version_id=2),
        ),
        (
            "URN:AIR:sdxl:lora:civitai:1@2+3.safetensor",
            CivitaiAddress(version_id=2, file_id=3, traits={"format": "safetensor"}),
        ),
    ],
)
def test_every_form_of_an_address_names_a_file_of_a_version(
    url: str, address: CivitaiAddress
) -> None:
    assert is_civitai_address(url)
    assert parse_civitai_address(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/models/1?modelVersionId=2",
        "https:civitai.com/models/1",
        "civitai",
        "a/b",
    ],
)
def test_other_addresses_are_not_of_civitai(url: str) -> None:
    assert not is_civitai_address(url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("civitai://", "must have a number as the version's id"),
        ("civitai:2", "must have a number as the version's id"),
        ("civitai://some-model", "write 'civitai://VERSION_ID'"),
        ("civitai://٣", "must have a number as the version's id"),
        ("civitai://99999999999999999999", "must have a number as the version's id"),
        ("civitai://2?file=x", "must have a number as the file's id"),
        ("civitai://2?fileId=3", "'civitai://VERSION_ID?file=FILE_ID'"),
        (f"{_SITE}/models/1", "does not say which version of the model"),
        (f"{_SITE}/models/1?modelVersionId=x", "must have a number as the version's id"),
        (f"{_SITE}/images/1", "is not the page of a model on Civitai"),
        ("urn:air:sdxl:checkpoint:civitai:1", "does not say which version of the model"),
        ("urn:air:sdxl:checkpoint:civitai:x@2", "must have a number as the model's id"),
        ("urn:air:sdxl:vae:huggingface:org/name@main", "names a repository of the Hub"),
        ("urn:air:other:image:leonardo:abc", "is of 'leonardo'"),
        ("urn:isbn:1", "is not an AIR name"),
    ],
)
def test_an_address_that_names_no_version_is_refused(url: str, reason: str) -> None:
    assert is_civitai_address(url)
    with pytest.raises(ValueError, match="^(must|does|is|names) ") as caught:
        parse_civitai_address(url)
    assert reason in str(caught.value)
