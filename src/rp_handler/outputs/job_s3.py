"""The bucket that a job itself names, with RunPod's `s3Config`: somebody else's, so that only
addresses of the public internet are reached with it.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from comfy_errors import InvalidInputError
from comfy_files.json_faults import faults_in_words
from rp_handler.inputs.policy import PRIVATE, input_policy
from rp_handler.outputs.names import DEFAULT_PREFIX
from rp_handler.outputs.s3_settings import S3Settings, host_of_bucket, region_of
from rp_handler.variables import flag

ALLOWED = "COMFY_JOB_S3_CONFIG"
_ENDPOINT = "s3Config.endpointUrl"
_NO_URL = f"'{_ENDPOINT}' is not the URL of an S3 service, such as https://HOST"

_Text = Annotated[str, StringConstraints(min_length=1, max_length=2048, pattern=r"^[!-~]+$")]
_Bucket = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{1,221}$")]


class _S3Config(BaseModel):
    model_config = ConfigDict(strict=True, hide_input_in_errors=True, defer_build=True)

    access_id: _Text = Field(alias="accessId")
    access_secret: _Text = Field(alias="accessSecret", repr=False)
    bucket_name: _Bucket = Field(alias="bucketName")
    endpoint_url: _Text = Field(alias="endpointUrl")


class _Asked(BaseModel):
    """Names the key of the job in messages."""

    s3_config: _S3Config = Field(alias="s3Config")


def allows_job_buckets(environment: Mapping[str, str]) -> bool:
    """Whether jobs may name buckets of their own. Raises InvalidInputError."""
    return flag(environment, ALLOWED, default=False)


def read_s3_config(document: object, environment: Mapping[str, str]) -> S3Settings:
    """The bucket that `s3Config` of a job describes. Raises InvalidInputError; no key is in it."""
    try:
        asked = _Asked.model_validate({"s3Config": document}).s3_config
    except ValidationError as error:
        raise _unusable(faults_in_words(error)) from None
    endpoint, region = _service(asked.endpoint_url, asked.bucket_name)
    return S3Settings(
        endpoint=endpoint,
        bucket=asked.bucket_name,
        prefix=DEFAULT_PREFIX,
        region=region or environment.get("AWS_REGION") or None,
        key_id=asked.access_id,
        secret=asked.access_secret,
        only_public=not input_policy(environment).allows_private,
        endpoint_name=_ENDPOINT,
        key_names="s3Config.accessId and s3Config.accessSecret",
    )


def _service(url: str, bucket: str) -> tuple[str, str | None]:
    """The service without the bucket, and its region if the host has it."""
    from botocore.utils import is_valid_endpoint_url, is_valid_ipv6_endpoint_url

    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _unusable(_NO_URL) from None
    has_more = parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme not in ("http", "https") or not host or has_more:
        raise _unusable(_NO_URL)
    own = host_of_bucket(host)
    if own and own[0] == bucket:
        host = own[1]
    path = parts.path.rstrip("/").removesuffix(f"/{bucket}")
    name = f"[{host}]" if ":" in host else host
    endpoint = f"{parts.scheme}://{name}{f':{port}' if port else ''}{path}"
    if not (is_valid_endpoint_url(endpoint) or is_valid_ipv6_endpoint_url(endpoint)):
        raise _unusable(_NO_URL)
    return endpoint, region_of(host)


def _unusable(faults: str) -> InvalidInputError:
    return InvalidInputError(
        f"The job's s3Config cannot be used: {faults}.",
        remedy="docs/runpod.md describes it.",
    )


def connect_only_to_public(client: Any, endpoint: str) -> None:
    """Keeps a client of boto3 from every address that is not public. Raises InvalidInputError where
    a proxy, which resolves names itself, would be used.
    """
    from botocore.awsrequest import (
        AWSHTTPConnection,
        AWSHTTPConnectionPool,
        AWSHTTPSConnection,
        AWSHTTPSConnectionPool,
    )
    from requests.utils import get_environ_proxies, select_proxy

    from comfy_http.guarded import connected_to_public

    class Connection(AWSHTTPConnection):  # type: ignore[misc]
        def _new_conn(self) -> socket.socket:
            return connected_to_public(self)

    class TlsConnection(AWSHTTPSConnection):  # type: ignore[misc]
        def _new_conn(self) -> socket.socket:
            return connected_to_public(self)

    class Pool(AWSHTTPConnectionPool):  # type: ignore[misc]
        ConnectionCls = Connection

    class TlsPool(AWSHTTPSConnectionPool):  # type: ignore[misc]
        ConnectionCls = TlsConnection

    if select_proxy(endpoint, get_environ_proxies(endpoint)):
        raise InvalidInputError(
            f"The job's {_ENDPOINT} would be reached through a proxy, which resolves names itself, "
            "so that private addresses could not be refused.",
            remedy=f"Set {PRIVATE}=1 in the worker, or except the host with NO_PROXY.",
        )
    # botocore has no public way to choose them.
    manager = client._endpoint.http_session._manager
    manager.pool_classes_by_scheme = {"http": Pool, "https": TlsPool}
