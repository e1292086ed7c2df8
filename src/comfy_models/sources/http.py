"""Model files on web servers, pinned by their strong ETag and length."""

from __future__ import annotations

import contextlib

from comfy_http.errors import StatusError
from comfy_http.ranges import HttpStream, Location, RangeReader
from comfy_http.redaction import without_secrets
from comfy_models.model_file import Pin
from comfy_models.sources.errors import AccessDeniedError, GoneError
from comfy_models.sources.hosts import Hosts
from comfy_models.sources.source import HostFile

_GONE = (404, 410)


class HttpSource:
    """A file on a web server. Logins come from ~/.netrc."""

    def __init__(self, url: str, hosts: Hosts, pin: Pin | None) -> None:
        self._url, self._hosts, self._pin = url, hosts, pin
        self._reader = RangeReader(hosts.client, hosts.session, lambda: Location(url=url))

    def pin(self) -> HostFile:
        # Not HEAD, which servers refuse for signed addresses.
        stream = self._hosts.answer(lambda: self.open(0, 1), url=self._url)
        with contextlib.closing(stream):
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
