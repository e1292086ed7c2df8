"""How outputs go to S3, or to a compatible service, with the variables of worker-comfyui.

BUCKET_ENDPOINT_URL names service and bucket: the bucket is in the host, as of Amazon's own
endpoints, or else the first part of the path.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from comfy_errors import InvalidInputError
from comfy_errors.names import listed
from comfy_home.output_modes import BY_VARIABLE
from rp_handler.outputs.names import DEFAULT_PREFIX

ENDPOINT, KEY_ID, SECRET = (
    "BUCKET_ENDPOINT_URL",
    "BUCKET_ACCESS_KEY_ID",
    "BUCKET_SECRET_ACCESS_KEY",
)
VARIABLES = (ENDPOINT, KEY_ID, SECRET)
SHAPES = (
    "Set it to https://BUCKET.s3.REGION.amazonaws.com, or for another service to "
    "https://HOST/BUCKET."
)
# Hosts whose first part is the bucket; what follows `s3` or precedes the domain is the region.
_HOSTS = (
    re.compile(
        r"(?P<bucket>.+)\.(?P<service>s3[.-](?:dualstack\.)?(?P<region>[a-z]{2}(?:-[a-z]+)+-\d)"
        r"\.amazonaws\.com(?:\.cn)?)"
    ),
    re.compile(r"(?P<bucket>.+)\.(?P<service>s3\.amazonaws\.com)(?P<region>)"),
    re.compile(r"(?P<bucket>.+)\.(?P<service>s3\.(?P<region>[a-z0-9-]+)\.backblazeb2\.com)"),
    re.compile(r"(?P<bucket>[^.]+)\.(?P<service>(?P<region>[a-z0-9]+)\.digitaloceanspaces\.com)"),
    re.compile(
        r"(?P<bucket>[^.]+)\.(?P<service>[0-9a-f]{32}(?:\.eu)?\.r2\.cloudflarestorage\.com)"
        r"(?P<region>)"
    ),
)
_REGION = re.compile(r"(?:^|\.)s3[.-](?P<region>[a-z]{2}(?:-[a-z]+)+(?:-\d)?)\.")


@dataclass(frozen=True, kw_only=True)
class S3Settings:
    """`endpoint` is the service without the bucket; `region` is None for the usual one.
    `prefix` is where the names of files in the bucket start. With `only_public`, the service must
    have public addresses. `endpoint_name` and `key_names` name in messages what to correct.
    """

    endpoint: str
    bucket: str
    prefix: str
    region: str | None
    key_id: str
    secret: str = field(repr=False)
    only_public: bool = False
    endpoint_name: str = ENDPOINT
    key_names: str = field(default=f"{KEY_ID} and {SECRET}", repr=False)

    @staticmethod
    def of(environment: Mapping[str, str], *, instead: str = BY_VARIABLE) -> S3Settings:
        """Raises InvalidInputError, which names `instead` as the way without a bucket."""
        given = {name: environment.get(name, "").strip() for name in VARIABLES}
        if missing := [name for name in VARIABLES if not given[name]]:
            raise InvalidInputError(
                f"outputs go to S3, but {listed(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} not set",
                remedy=f"Set {', '.join(VARIABLES)}, or {instead} to have the outputs in the "
                "result itself.",
            )
        endpoint, bucket, prefix, region = _place(given[ENDPOINT])
        return S3Settings(
            endpoint=endpoint,
            bucket=bucket,
            prefix="/".join(filter(None, (prefix, DEFAULT_PREFIX))),
            region=region or environment.get("AWS_REGION") or None,
            key_id=given[KEY_ID],
            secret=given[SECRET],
        )


def _place(url: str) -> tuple[str, str, str, str | None]:
    """The service, the bucket, the start of names in it, and the region if the host has it."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or parts.scheme not in ("http", "https") or parts.username or parts.query:
        raise InvalidInputError(f"{ENDPOINT} is not the URL of a bucket", remedy=SHAPES)
    suffix = f":{port}" if port else ""
    path = parts.path.strip("/")
    if own := host_of_bucket(host):
        return f"{parts.scheme}://{own[1]}{suffix}", own[0], path, region_of(host)
    bucket, _, prefix = path.partition("/")
    if not bucket:
        raise InvalidInputError(f"{ENDPOINT} names no bucket: {host}", remedy=SHAPES)
    return f"{parts.scheme}://{host}{suffix}", bucket, prefix, region_of(host)


def host_of_bucket(host: str) -> tuple[str, str] | None:
    """The bucket that a host has as its first part, and the host of the service; None if it is the
    service's own.
    """
    found = next((it for shape in _HOSTS if (it := shape.fullmatch(host))), None)
    return (found["bucket"], found["service"]) if found else None


def region_of(host: str) -> str | None:
    """The region that a host names, of a service or of a bucket."""
    found = next((it for shape in _HOSTS if (it := shape.fullmatch(host))), None)
    region = found or _REGION.search(host)
    return region["region"] or None if region else None
