"""Model files on web servers, pinned by their strong ETag and length."""

from __future__ import annotations

import contextlib
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from comfy_http.errors import StatusError
from comfy_http.ranges import HttpStream, Location, RangeReader
from comfy_http.redaction import without_secrets
from comfy_models.error_pages import PAGE_BYTES, fault_of_page
from comfy_models.model_file import Pin
from comfy_models.sources.errors import (
    AccessDeniedError,
    GoneError,
    NotAModelError,
    not_a_model_remedy,
)
from comfy_models.sources.hosts import Hosts
from comfy_models.sources.source import HostFile, head_of

_GONE = (404, 410)


class HttpSource:
    """A file on a web server. Logins come from ~/.netrc."""

    def __init__(self, url: str, hosts: Hosts, pin: Pin | None) -> None:
        self._url, self._hosts, self._pin = url, hosts, pin
        self._reader = RangeReader(hosts.client, hosts.session, lambda: Location(url=url))

    def pin(self) -> HostFile:
        return self._hosts.answer(self._first_answer, url=self._url)

    def _first_answer(self) -> HostFile:
        # Not HEAD, which servers refuse for signed addresses.
        with contextlib.closing(self.open(0, PAGE_BYTES)) as stream:
            name = PurePosixPath(urlsplit(self._url).path).name
            if fault := fault_of_page(head_of(stream, PAGE_BYTES), name):
                raise NotAModelError(
                    f"{without_secrets(self._url)} {fault}",
                    remedy=not_a_model_remedy(is_here=False),
                )
            etag = stream.validator.strip('"') if stream.validator else None
            return HostFile(size=stream.size, pin=Pin(etag=etag, length=stream.size))

    def open(self, start: int, end: int | None, *, validator: str | None = None) -> HttpStream:
        try:
            return self._reader.open(start, end, validator=validator)
        except StatusError as error:
            shown = without_secrets(self._url)
            if error.status in _GONE:
                raise GoneError(
                    error.message, remedy="Correct 'source' in the spec, or add a mirror."
                ) from error
            if error.status == 403:
                raise AccessDeniedError(
                    f"{shown} refuses access (it answered 403)",
                    remedy="Use another address, or put a login that may read it into ~/.netrc.",
                ) from error
            if error.status == 401:
                raise AccessDeniedError(
                    f"{shown} needs a login: it answered 401",
                    remedy="Put the login for its host into ~/.netrc.",
                ) from error
            raise
