from __future__ import annotations

import pytest

from comfy_errors import InvalidInputError
from comfy_models.volumes.volume import volume_named


def test_a_volume_has_the_endpoint_of_its_data_center() -> None:
    volume = volume_named("eur-is-1/4jw1fcocwl", {})

    assert (volume.data_center, volume.id) == ("EUR-IS-1", "4jw1fcocwl")
    assert volume.endpoint == "https://s3api-eur-is-1.runpod.io"
    assert str(volume) == "EUR-IS-1/4jw1fcocwl"


def test_another_endpoint_takes_its_place() -> None:
    variables = {"RUNPOD_S3_URL": "http://127.0.0.1:9000"}

    assert volume_named("EU-RO-1/abc", variables).endpoint == "http://127.0.0.1:9000"


@pytest.mark.parametrize(
    "text", ["", "abc", "EU-RO-1/", "/abc", "EU-RO-1/a/b", "evil.com/abc", "EU-RO-1/../x", "a@b/c"]
)
def test_what_names_no_volume_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="does not name a volume") as failed:
        volume_named(text, {})
    assert "EU-RO-1/4jw1fcocwl" in failed.value.remedy


def test_an_endpoint_that_is_no_address_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="RUNPOD_S3_URL is 'junk', which is not an HTTP"):
        volume_named("EU-RO-1/abc", {"RUNPOD_S3_URL": "junk"})
