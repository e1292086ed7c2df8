"""A file in S3, or in a compatible service, pinned by its entity tag.

The contract is https://docs.aws.amazon.com/AmazonS3/latest/API.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Mapping

from comfy_errors import ComfyError
from comfy_http.asking import Answer, ask
from comfy_http.errors import StatusError
from comfy_http.ranges import HttpStream, Location, RangeReader, open_range, size_in
from comfy_http.redaction import in_one_line, without_secrets
from comfy_models.error_pages import xml_error
from comfy_models.model_file import Pin
from comfy_models.sources.buckets.address import bucket_and_key
from comfy_models.sources.buckets.s3_signing import REMEDY
from comfy_models.sources.errors import AccessDeniedError, ChangedError, GoneError
from comfy_models.sources.hosts import Hosts
from comfy_models.sources.source import HostFile

_DENIED_CODES = ("ExpiredToken", "InvalidToken", "TokenRefreshRequired")


class S3Source:
    """The file that an `s3://` address names."""

    def __init__(self, url: str, hosts: Hosts, pin: Pin | None) -> None:
        self._url, self._hosts = url, hosts
        self._etag = pin.etag if pin else None
        self._bucket, self._key = bucket_and_key(url)
        self._reader = RangeReader(hosts.client, hosts.session, self._locate)

    def pin(self) -> HostFile:
        return self._hosts.answer(self._told, url=self._url)

    def open(self, start: int, end: int | None, *, validator: str | None = None) -> HttpStream:
        try:
            stream = self._reader.open(start, end, validator=validator)
        except StatusError as error:
            raise self._refusal(error) from error
        try:
            self._require_pinned((stream.validator or "").strip('"') or None)
        except ChangedError:
            stream.close()
            raise
        return stream

    def _told(self) -> HostFile:
        headers = self._head().headers
        tag = headers.get("ETag", "")
        etag = tag.strip('"') if tag.startswith('"') else None
        self._require_pinned(etag)
        return HostFile(
            size=size_in(headers.get("Content-Length")),
            sha256=_sha256(headers),
            pin=Pin(etag=etag),
            name=self._key.rpartition("/")[2],
        )

    def _locate(self) -> Location:
        # Learns also the region, which is part of the signature.
        self._told()
        return self._location("GET")

    def _head(self) -> Answer:
        try:
            return self._asked()
        except StatusError as error:
            region = error.headers.get("x-amz-bucket-region", "")
            if not self._hosts.s3.learn_region(self._bucket, region):
                raise self._refusal(error) from error
        try:
            return self._asked()
        except StatusError as error:
            raise self._refusal(error) from error

    def _asked(self) -> Answer:
        location = self._location("HEAD")
        answer = ask(self._hosts.client, self._hosts.session, location, method="HEAD")
        if answer.leads_to is None:
            return answer
        raise StatusError(
            f"{self._url} could not be read: it is at {without_secrets(answer.leads_to)}",
            remedy="Set AWS_REGION to the region of the bucket.",
            status=307,
            headers=answer.headers,
            body=b"",
        )

    def _location(self, method: str) -> Location:
        return self._hosts.s3.location(method, self._bucket, self._key)

    def _require_pinned(self, etag: str | None) -> None:
        if None not in (self._etag, etag) and self._etag != etag:
            raise ChangedError(
                f"{self._url} has been replaced: its ETag is {etag}, not {self._etag}, which was "
                "pinned",
                remedy="Resolve the version again.",
            )

    def _refusal(self, error: StatusError) -> ComfyError:
        body = error.body or self._said()
        code, message = xml_error(body)
        reason = in_one_line(": ".join(filter(None, (code, message)))).rstrip(". ")
        reason = reason or f"it answered {error.status}"
        if error.status == 404:
            return GoneError(
                f"{self._url} is not there: {reason}",
                remedy="Correct 'source' in the spec, or add a mirror.",
            )
        if error.status in (401, 403) or code in _DENIED_CODES:
            return AccessDeniedError(f"{self._url} may not be read: {reason}", remedy=REMEDY)
        return error

    def _said(self) -> bytes:
        """The words of a refusal, which answers to HEAD do not have."""
        try:
            location = self._location("GET")
            stream = open_range(self._hosts.client, self._hosts.session, location, end=1)
        except StatusError as error:
            return error.body
        except ComfyError:
            return b""
        with contextlib.closing(stream):
            return b""


def _sha256(headers: Mapping[str, str]) -> str | None:
    """The sha256 that S3 knows, unless it is one of the checksums of parts."""
    if headers.get("x-amz-checksum-type", "FULL_OBJECT") != "FULL_OBJECT":
        return None
    try:
        digest = base64.b64decode(headers.get("x-amz-checksum-sha256", ""), validate=True)
    except ValueError:
        return None
    return digest.hex() if len(digest) == 32 else None
