"""The client that uploads, as this machine reaches servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_http.settings import NetworkSettings
from comfy_models.sources.buckets.s3_client import s3_client
from comfy_models.sources.errors import AccessDeniedError
from tests.http_server import Answer, Request, serve

_KEY = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "a-secret"}


@pytest.fixture(autouse=True)
def _nothing_else_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def test_it_goes_through_the_proxy_to_the_path_of_a_bucket() -> None:
    def answer(request: Request) -> Answer:
        asked.append(request)
        return Answer(headers={"ETag": '"1"'})

    asked: list[Request] = []
    with serve(answering=answer) as proxy:
        client = s3_client(
            _KEY,
            settings=NetworkSettings(proxy=proxy),
            endpoint="http://storage.example",
            region="EUR-IS-1",
        )
        client.put_object(Bucket="volume", Key="models/x", Body=b"x")
    (request,) = asked
    assert (request.method, request.path) == ("PUT", "http://storage.example/volume/models/x")
    assert "/EUR-IS-1/s3/aws4_request" in (request.headers["Authorization"] or "")


def test_arguments_take_precedence_over_variables_and_these_over_files(tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text(
        "[default]\nregion = eu-north-1\nendpoint_url = http://file.example\n"
    )
    variables = {**_KEY, "AWS_REGION": "eu-west-1", "AWS_ENDPOINT_URL_S3": "http://s3.example"}
    given = s3_client(variables, endpoint="http://given.example", region="eu-south-1").meta
    assert (given.endpoint_url, given.region_name) == ("http://given.example", "eu-south-1")
    set_by = s3_client(variables).meta
    assert (set_by.endpoint_url, set_by.region_name) == ("http://s3.example", "eu-west-1")
    filed = s3_client(_KEY).meta
    assert (filed.endpoint_url, filed.region_name) == ("http://file.example", "eu-north-1")


@pytest.mark.parametrize(
    ("bucket", "place"),
    [
        ("models", "https://models.s3.eu-west-1.amazonaws.com/x?X-Amz-Algorithm="),
        # Certificates are for one name below.
        ("my.models", "https://s3.eu-west-1.amazonaws.com/my.models/x?X-Amz-Algorithm="),
    ],
)
def test_amazon_has_a_host_for_each_bucket(bucket: str, place: str) -> None:
    url = s3_client(_KEY, region="eu-west-1").generate_presigned_url(
        "get_object", Params={"Bucket": bucket, "Key": "x"}
    )
    assert url.startswith(place)


def test_half_a_key_is_refused() -> None:
    with pytest.raises(AccessDeniedError, match="AWS_ACCESS_KEY_ID is not set, but AWS_SECRET"):
        s3_client({**_KEY, "AWS_ACCESS_KEY_ID": ""})
