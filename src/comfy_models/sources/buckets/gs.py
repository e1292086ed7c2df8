"""An object in Google Cloud Storage, pinned by its generation and its crc32c.

The contract is https://cloud.google.com/storage/docs/json_api.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import quote

from pydantic import BaseModel, Field, ValidationError

from comfy_errors import ComfyError
from comfy_http.asking import Answer, ask
from comfy_http.errors import StatusError
from comfy_http.ranges import HttpStream, Location, RangeReader
from comfy_http.redaction import in_one_line
from comfy_models.model_file import Pin
from comfy_models.sources.buckets.address import bucket_and_key
from comfy_models.sources.buckets.google_login import REMEDY
from comfy_models.sources.errors import (
    AccessDeniedError,
    ChangedError,
    GoneError,
    NotAModelError,
)
from comfy_models.sources.hosts import Hosts, endpoint_of
from comfy_models.sources.source import HostFile

_EMULATOR = "STORAGE_EMULATOR_HOST"
_ENDPOINT = "https://storage.googleapis.com"
_TOLD = "size,generation,crc32c,contentEncoding"
_DENIED = (401, 403)


class _Object(BaseModel):
    """What the API tells about an object. Its numbers are strings."""

    size: int = Field(ge=0, lt=2**63)
    generation: int = Field(gt=0, lt=2**63)
    crc32c: str | None = Field(default=None, max_length=8)
    contentEncoding: str | None = None  # noqa: N815


class GsSource:
    """The object that a `gs://` address names, at the generation of `pin` or else its newest."""

    def __init__(self, url: str, hosts: Hosts, pin: Pin | None) -> None:
        self._url, self._hosts = url, hosts
        self._pinned = pin.generation if pin else None
        emulator = hosts.variables.get(_EMULATOR)
        if emulator and "://" not in emulator:
            emulator = f"http://{emulator}"
        self.endpoint = endpoint_of({_EMULATOR: emulator or ""}, _EMULATOR, _ENDPOINT)
        bucket, name = bucket_and_key(url)
        self._path = f"storage/v1/b/{quote(bucket, safe='')}/o/{quote(name, safe='')}"
        self._headers: Mapping[str, str] | None = None
        self._reader = RangeReader(hosts.client, hosts.session, self._locate)

    def pin(self) -> HostFile:
        told = self._hosts.answer(self._ask, url=self.endpoint)
        self._require_pinned(told.generation)
        # Such an object is decompressed in transit; its metadata describes the stored bytes.
        is_packed = told.contentEncoding == "gzip"
        return HostFile(
            size=None if is_packed else told.size,
            pin=Pin(generation=told.generation, crc32c=None if is_packed else told.crc32c),
            name=self._url.rpartition("/")[2],
        )

    def open(self, start: int, end: int | None, *, validator: str | None = None) -> HttpStream:
        stream = self._opened(start, end)
        if validator in (None, stream.validator):
            return stream
        stream.close()
        return self._opened(0, None)

    def _opened(self, start: int, end: int | None) -> HttpStream:
        try:
            stream = self._reader.open(start, end)
        except StatusError as error:
            if error.status == 404 and self._pinned is not None:
                self._require_pinned(self._ask().generation)
            raise self._refusal(error) from error
        # Its entity tag is no strong one.
        stream.validator = stream.headers.get("X-Goog-Generation")
        try:
            self._require_pinned(stream.validator)
        except ChangedError:
            stream.close()
            raise
        return stream

    def _locate(self) -> Location:
        # It is only asked again if the last headers were refused, or the generation is gone.
        headers = self._hosts.google.headers(self._headers)
        self._headers = headers
        generation = self._pinned or self._ask().generation
        url = f"{self.endpoint}/download/{self._path}?alt=media&generation={generation}"
        return Location(url=url, headers=headers, uses_netrc=False, name=self._url)

    def _ask(self) -> _Object:
        """What the API tells about the newest generation."""
        headers = self._hosts.google.headers()
        try:
            answer = self._answer(headers)
        except StatusError as error:
            if error.status not in _DENIED:
                raise self._refusal(error) from error
            renewed = self._hosts.google.headers(refused=headers)
            if renewed == headers:
                raise self._refusal(error) from error
            try:
                answer = self._answer(renewed)
            except StatusError as again:
                raise self._refusal(again) from again
        try:
            return _Object.model_validate_json(answer.body)
        except ValidationError as error:
            raise NotAModelError(
                f"{self.endpoint} does not answer as Google Cloud Storage does",
                remedy="Check STORAGE_EMULATOR_HOST, and the proxy of this machine.",
            ) from error

    def _answer(self, headers: Mapping[str, str]) -> Answer:
        url = f"{self.endpoint}/{self._path}?fields={_TOLD}"
        location = Location(url=url, headers=headers, uses_netrc=False, name=self._url)
        return ask(self._hosts.client, self._hosts.session, location)

    def _require_pinned(self, generation: int | str | None) -> None:
        if None not in (self._pinned, generation) and str(generation) != str(self._pinned):
            raise ChangedError(
                f"{self._url} has been replaced: its generation is {generation}, not "
                f"{self._pinned}, which was pinned",
                remedy="Resolve the version again.",
            )

    def _refusal(self, error: StatusError) -> ComfyError:
        reason = _reason(error.body)
        if error.status == 404:
            return GoneError(
                f"{self._url} is not there: {reason or 'it answered 404'}",
                remedy="Correct 'source' in the spec, or add a mirror.",
            )
        if error.status in _DENIED:
            return AccessDeniedError(
                f"{self._url} may not be read: {reason or f'it answered {error.status}'}",
                remedy=REMEDY,
            )
        return error


def _reason(body: bytes) -> str:
    """What the API says, which is a document, or in place of a file a line of text."""
    text = body.decode(errors="replace")
    try:
        text = str(json.loads(text)["error"]["message"])
    except (ValueError, RecursionError, KeyError, TypeError):
        if text.lstrip().startswith(("<", "{", "[")):
            return ""
    return in_one_line(text).rstrip(". ")
