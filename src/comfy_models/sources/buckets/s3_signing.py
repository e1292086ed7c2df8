"""Signs URLs of S3: what they name can be read for an hour, without any login."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

from comfy_http.redaction import without_secrets
from comfy_models.sources.buckets.s3_client import s3_client
from comfy_models.sources.errors import AccessDeniedError

if TYPE_CHECKING:
    from comfy_models.sources.hosts import Hosts

REMEDY = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to a key that may read it."
_VALID_S = 3600
_REGION = re.compile(r"[a-z0-9-]{1,40}")


class S3Signing:
    """One key for all files. Several threads may use it."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self._regions: dict[str, str] = {}
        self._clients: dict[str | None, Any] = {}
        self._lock = threading.Lock()

    def url(self, operation: str, bucket: str, key: str, **options: str) -> str:
        """The URL for `operation`, such as "get_object"; a plain one where there is no key."""
        from botocore.exceptions import BotoCoreError

        named = {"Bucket": bucket, "Key": key, **options}
        try:
            signed: str = self._client(bucket).generate_presigned_url(
                operation, Params=named, ExpiresIn=_VALID_S
            )
        except BotoCoreError as error:
            raise AccessDeniedError(
                f"s3://{bucket}/{key} cannot be asked for: {without_secrets(str(error))}",
                remedy=REMEDY,
            ) from error
        return signed

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
