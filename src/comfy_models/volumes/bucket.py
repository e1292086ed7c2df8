"""The files of one volume, through its S3 service, whose errors become ours."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from comfy_errors import ComfyError, OperationFailedError, UnavailableError
from comfy_http.redaction import without_secrets
from comfy_models.sources.buckets.s3_client import code_of, s3_client
from comfy_models.sources.errors import AccessDeniedError, GoneError

if TYPE_CHECKING:
    from comfy_models.sources.hosts import Hosts
    from comfy_models.volumes.volume import Volume

# RunPod's keys for S3 are not those of an account at Amazon, which may be needed too.
_KEYS = {
    "AWS_ACCESS_KEY_ID": "RUNPOD_S3_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY": "RUNPOD_S3_SECRET_ACCESS_KEY",
}
_LOG_IN = (
    "Set RUNPOD_S3_ACCESS_KEY_ID and RUNPOD_S3_SECRET_ACCESS_KEY, or AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, to an S3 API key: RunPod's console makes one under Settings."
)
_NOT_FOUND = ("404", "NoSuchKey", "NotFound")
_DENIED = ("401", "403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch")
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What the service tells about a file. `etag` has no quotes."""

    size: int
    etag: str


class Bucket:
    """For several threads."""

    def __init__(self, volume: Volume, hosts: Hosts) -> None:
        self.volume = volume
        variables = {name: text for name, text in hosts.variables.items() if text}
        missing = [name for name in _KEYS.values() if name not in variables]
        if len(missing) == 1:
            raise AccessDeniedError(
                f"{missing[0]} is not set, but the other part of the key is", remedy=_LOG_IN
            )
        if not missing:
            variables |= {name: variables[ours] for name, ours in _KEYS.items()}
            variables.pop("AWS_SESSION_TOKEN", None)
        self.client: Any = s3_client(
            variables,
            settings=hosts.client.settings,
            endpoint=volume.endpoint,
            region=volume.data_center,
        )

    @property
    def _has_key(self) -> bool:
        from botocore import UNSIGNED

        return self.client.meta.config.signature_version is not UNSIGNED

    def require(self) -> None:
        """Raises GoneError if there is no such volume, and otherwise as `errors` does."""
        with self.errors(""):
            try:
                self.client.head_bucket(Bucket=self.volume.id)
            except self.client.exceptions.ClientError as error:
                if code_of(error) not in _NOT_FOUND:
                    raise
                raise self._gone() from error

    def entry(self, key: str) -> Entry | None:
        """None if there is no such file. Raises as `errors` does."""
        with self.errors(key):
            try:
                told = self.client.head_object(Bucket=self.volume.id, Key=key)
            except self.client.exceptions.ClientError as error:
                if code_of(error) not in _NOT_FOUND:
                    raise
                return None
            return Entry(size=told["ContentLength"], etag=told.get("ETag", "").strip('"'))

    def read(self, key: str) -> Iterator[bytes]:
        """The bytes of a file as they arrive. Raises as `errors` does."""
        with self.errors(key):
            got = self.client.get_object(Bucket=self.volume.id, Key=key)
            with contextlib.closing(got["Body"]) as body:
                yield from body.iter_chunks(_CHUNK_BYTES)

    def put(self, key: str, content: bytes) -> None:
        with self.errors(key):
            self.client.put_object(Bucket=self.volume.id, Key=key, Body=content)

    @contextlib.contextmanager
    def errors(self, key: str) -> Iterator[None]:
        """Raises AccessDeniedError, GoneError, UnavailableError, OperationFailedError in place of
        errors of boto.
        """
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            raise self._error(key, error) from error
        except (BotoCoreError, Boto3Error) as error:
            raise UnavailableError(
                f"volume {self.volume} could not be reached: {without_secrets(str(error))}",
                remedy="Check the network, and the name of the data center.",
            ) from error

    def _error(self, key: str, error: Any) -> ComfyError:
        code, message = code_of(error), error.response.get("Error", {}).get("Message", "")
        if code == "NoSuchBucket":
            return self._gone()
        if code in _DENIED:
            fault = "refuses this key" if self._has_key else "needs an S3 API key"
            return AccessDeniedError(f"volume {self.volume} {fault} ({code})", remedy=_LOG_IN)
        reason = without_secrets(f"{code} {message}".strip())
        return OperationFailedError(
            f"volume {self.volume} fails for {key or 'a request'}: {reason}",
            remedy="Check the free space of the volume, and run the command again.",
        )

    def _gone(self) -> GoneError:
        return GoneError(
            f"there is no volume {self.volume}",
            remedy="Look for its id and its data center in RunPod's console under Storage.",
        )
