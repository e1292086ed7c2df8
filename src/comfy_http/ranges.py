"""Reads any part of a file over HTTP, also from an address that is only valid for a while."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from comfy_errors import ComfyError, UnavailableError
from comfy_http.errors import OtherRangeError, SilenceError, StatusError, TransientError
from comfy_http.redaction import without_secrets
from comfy_http.retries import LONGEST_WAIT_S, duration_in_words

if TYPE_CHECKING:
    import requests

    from comfy_http.client import HttpClient

_SIZE = r"[0-9]{1,18}"
_CONTENT_RANGE = re.compile(rf"bytes ({_SIZE})-({_SIZE})/({_SIZE}|\*)")
# RFC 9110: "RateLimit" is the draft that the Hugging Face Hub uses.
_RATE_LIMIT = re.compile(r"\br=(\d+);\s*t=(\d+)")
_PASSING = {408, 425, 429, 500, 502, 503, 504}
# What a signed address answers once it has expired.
_EXPIRED = {400, 401, 403, 404, 410}
_LONGEST_BODY = 4096


@dataclass(frozen=True, kw_only=True)
class Location:
    """An address to read from, the headers to send there, and whether ~/.netrc may have a login.

    `name` is what messages call it, by default the URL: signed ones are long and say little.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    uses_netrc: bool = True
    name: str = ""

    @property
    def shown(self) -> str:
        return self.name or without_secrets(self.url)


class HttpStream:
    """The bytes of a file from `start` on.

    `size` is that of the whole file in bytes, `validator` its strong ETag with quotes, `url` the
    address that answered in the end; None where the server did not tell. `headers` are those of
    the answer.
    """

    def __init__(self, response: requests.Response, *, shown: str, client: HttpClient) -> None:
        self._response, self._shown, self._client = response, shown, client
        self.url = response.url
        self.headers = response.headers
        self.start, self.size = _extent(response)
        tag = response.headers.get("ETag", "")
        self.validator = tag if tag.startswith('"') else None

    def read(self, size: int) -> bytes:
        """At most `size` bytes, as soon as any arrive; none at the end.

        Raises TransientError if the connection breaks or stays silent.
        """
        from requests.exceptions import BaseHTTPError  # type: ignore[attr-defined]

        try:
            # Not decoded: the file's own bytes are wanted.
            return self._response.raw.read1(size, decode_content=False)
        except (BaseHTTPError, OSError) as error:
            raise broken(self._client, self._shown, self.url, error) from error

    def close(self) -> None:
        self._response.close()


def open_range(
    client: HttpClient,
    session: requests.Session,
    location: Location,
    *,
    start: int = 0,
    end: int | None = None,
    validator: str | None = None,
) -> HttpStream:
    """The file's bytes [start, end); to the end of the file if `end` is None.

    A server may ignore the range, and does so if the file no longer has the `validator`: then the
    stream starts at 0. Raises StatusError, TransientError, UnavailableError if the server cannot
    be reached.
    """
    headers: dict[str, str] = {}
    if start or end is not None:
        headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        if validator is not None:
            headers["If-Range"] = validator
    response = send(client, session, location, headers=headers)
    if response.status_code == 416 and start == 0:
        # No part of an empty file can be sent.
        response.close()
        response = send(client, session, location, headers={})
    if response.status_code not in (200, 206):
        with response:
            raise refusal(response, location, client.remedy)
    stream = HttpStream(response, shown=location.shown, client=client)
    if response.status_code == 206 and stream.start != start:
        stream.close()
        raise OtherRangeError(
            f"{location.shown} sends another part of the file than the one asked for",
            remedy=client.remedy,
        )
    return stream


def send(
    client: HttpClient,
    session: requests.Session,
    location: Location,
    method: str = "GET",
    *,
    headers: Mapping[str, str] = MappingProxyType({}),
    follow: bool = True,
) -> requests.Response:
    """The response, whatever its status, before its body. Raises TransientError if the connection
    broke, UnavailableError if there is none or its certificate does not verify.
    """
    import requests

    try:
        return client.send(
            session,
            method,
            location.url,
            stream=True,
            headers={"Accept-Encoding": "identity", **location.headers, **headers},
            follow=follow,
            uses_netrc=location.uses_netrc,
        )
    except ComfyError as error:
        # A guarded client refuses an address.
        raise error.within(location.shown) from None
    except Exception as error:
        from comfy_http.reasons import certificate_fault

        passes = isinstance(error, requests.ConnectionError | requests.Timeout)
        if passes and certificate_fault(error) is None:
            raise broken(client, location.shown, location.url, error) from error
        # Not only those of requests: decoders of redirects raise errors of their own.
        raise client.unreachable(location.shown, error) from error


def broken(client: HttpClient, shown: str, url: str, error: Exception) -> TransientError:
    """The error for a connection that broke, or stayed silent."""
    known, host = client.unreachable(shown, error), urlsplit(url).hostname
    if isinstance(known, SilenceError):
        known.host = host
        return known
    return TransientError(known.message, remedy=known.remedy, host=host)


def _extent(response: requests.Response) -> tuple[int, int | None]:
    """Where the body starts in the file, -1 if that is not told, and the size of the file."""
    if response.status_code == 206:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if found is None:
            return -1, None
        return int(found[1]), None if found[3] == "*" else int(found[3])
    return 0, size_in(response.headers.get("Content-Length"))


def size_in(header: str | None) -> int | None:
    """The number of bytes in a header such as Content-Length, None if it has none."""
    return int(header) if header and re.fullmatch(_SIZE, header) else None


def refusal(response: requests.Response, location: Location, remedy: str) -> UnavailableError:
    """The error for a response that is not what was asked for: StatusError or TransientError."""
    from requests.exceptions import BaseHTTPError  # type: ignore[attr-defined]

    status = response.status_code
    message = f"{location.shown} could not be read: it answered {status} {response.reason}".rstrip()
    if status in _PASSING:
        wait_s, host = asked_wait_s(response.headers), urlsplit(response.url).hostname
        if wait_s is not None and wait_s > LONGEST_WAIT_S:
            message += f", and asks to wait {duration_in_words(wait_s)}"
        return TransientError(message, remedy="Try again later.", wait_s=wait_s, host=host)
    try:
        body = bytes(response.raw.read(_LONGEST_BODY, decode_content=True))
    except (BaseHTTPError, OSError):
        # What it said is lost; that it refused is not.
        body = b""
    return StatusError(message, remedy=remedy, status=status, headers=response.headers, body=body)


def asked_wait_s(headers: Mapping[str, str]) -> float | None:
    """How many seconds the server asks to wait, by `Retry-After` or an exhausted `RateLimit`."""
    retry_after = headers.get("Retry-After", "").strip()
    if retry_after.isdecimal():
        return _in_seconds(retry_after)
    if retry_after:
        return _seconds_until(retry_after)
    limit = _RATE_LIMIT.search(headers.get("RateLimit", ""))
    return _in_seconds(limit[2]) if limit and limit[1] == "0" else None


def _in_seconds(digits: str) -> float:
    """At most 1e9, about 30 years."""
    return min(float(digits), 1e9)


def _seconds_until(date: str) -> float | None:
    import time
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


class RangeReader:
    """Opens ranges of one file, for several threads.

    Remembers where the file was found, also after a redirect, and has it located again by one
    thread once that address has expired.
    """

    def __init__(
        self, client: HttpClient, session: requests.Session, locate: Callable[[], Location]
    ) -> None:
        self._client, self._session, self._locate = client, session, locate
        self._known: Location | None = None
        self._lock = threading.Lock()

    def open(self, start: int, end: int | None, *, validator: str | None = None) -> HttpStream:
        """As `open_range`."""
        known = self._known
        if known is None:
            return self._opened(self._located(None), start, end, validator)
        try:
            return self._opened(known, start, end, validator)
        except StatusError as error:
            if error.status not in _EXPIRED or (found := self._located(known)) == known:
                raise
        return self._opened(found, start, end, validator)

    def _located(self, expired: Location | None) -> Location:
        with self._lock:
            if self._known is None or self._known is expired:
                self._known = self._locate()
            return self._known

    def _opened(
        self, location: Location, start: int, end: int | None, validator: str | None
    ) -> HttpStream:
        stream = open_range(
            self._client, self._session, location, start=start, end=end, validator=validator
        )
        if stream.url != location.url:
            is_same = urlsplit(stream.url)[:2] == urlsplit(location.url)[:2]
            headers = location.headers if is_same else {}
            with self._lock:
                if self._known is location:
                    self._known = replace(location, url=stream.url, headers=headers)
        return stream
