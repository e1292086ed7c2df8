"""Signs requests to S3, each for one method and some minutes.

The signature is in the headers: RunPod's volumes know no presigned URLs
(https://docs.runpod.io/storage/s3-api), and a URL without one has nothing to hide.
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

from comfy_http.ranges import Location
from comfy_http.redaction import without_secrets
from comfy_models.sources.buckets.s3_client import aws_session, s3_client
from comfy_models.sources.errors import AccessDeniedError

if TYPE_CHECKING:
    from comfy_models.sources.hosts import Hosts

REMEDY = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to a key that may read it."
_REGION = re.compile(r"[a-z0-9-]{1,40}")


class S3Signing:
    """One key for all files. Several threads may use it."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._regions: dict[str, str] = {}
        self._clients: dict[str | None, Any] = {}
        self._lock = threading.Lock()
        self._credentials = aws_session(hosts.variables).get_credentials()

    def location(self, method: str, bucket: str, key: str) -> Location:
        """Where the file is, with what to send there; no signature where there is no key."""
        from botocore import UNSIGNED
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.exceptions import BotoCoreError

        name, client = f"s3://{bucket}/{key}", self._client(bucket)
        headers = {"x-amz-checksum-mode": "ENABLED"} if method == "HEAD" else {}
        try:
            # Only the client knows how each service wants to be addressed.
            presigned = client.generate_presigned_url(
                "get_object", Params={"Bucket": bucket, "Key": key}
            )
            url = presigned.partition("?")[0]
            if client.meta.config.signature_version != UNSIGNED:
                request = AWSRequest(method=method, url=url, headers=headers)
                keys = self._credentials.get_frozen_credentials()
                S3SigV4Auth(keys, "s3", client.meta.region_name).add_auth(request)
                headers = dict(request.headers.items())
        except BotoCoreError as error:
            raise AccessDeniedError(
                f"{name} cannot be asked for: {without_secrets(str(error))}", remedy=REMEDY
            ) from error
        return Location(url=url, headers=headers, uses_netrc=False, name=name)

    def learn_region(self, bucket: str, region: str) -> bool:
        """Remembers the region of a bucket. False if it was known, or is none."""
        if not _REGION.fullmatch(region) or region == self._client(bucket).meta.region_name:
            return False
        self._regions[bucket] = region
        return True

    def _client(self, bucket: str) -> Any:
        region = self._regions.get(bucket)
        with self._lock:
            if region not in self._clients:
                self._clients[region] = s3_client(
                    self._hosts.variables, settings=self._hosts.client.settings, region=region
                )
            return self._clients[region]
