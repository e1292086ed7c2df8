"""Asks a server about a file: one answer, without sending its token to any other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from comfy_errors import UnavailableError
from comfy_http.ranges import Location, broken, refusal, send

if TYPE_CHECKING:
    import requests

    from comfy_http.client import HttpClient

_REDIRECTS = 10
_LARGEST_BODY = 16 * 1024**2


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`url` is the address that answered, `leads_to` the one on another server that it names."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    leads_to: str | None = None


def ask(
    client: HttpClient, session: requests.Session, location: Location, *, method: str = "GET"
) -> Answer:
    """The server's answer, after redirects that stay on it.

    Raises StatusError, TransientError, UnavailableError if the server cannot be reached.
    """
    for _ in range(_REDIRECTS):
        with send(client, session, location, method, follow=False) as response:
            place = _redirect(client, session, response, location)
            if place is None and response.status_code != 200:
                raise refusal(response, location, client.remedy)
            if place is None or origin(place) != origin(location.url):
                body = b"" if place else _body(client, response, location)
                return Answer(url=location.url, headers=response.headers, body=body, leads_to=place)
        location = replace(location, url=place)
    raise UnavailableError(f"{location.shown} redirects too often", remedy=client.remedy)


def origin(url: str) -> tuple[str, str]:
    """The scheme and the host, with its port, of a URL."""
    parts = urlsplit(url)
    return parts.scheme.lower(), parts.netloc.lower()


def _redirect(
    client: HttpClient,
    session: requests.Session,
    response: requests.Response,
    location: Location,
) -> str | None:
    import requests

    try:
        target = session.get_redirect_target(response)
        place = None if target is None else urljoin(response.url, target)
        # This raises ValueError for an invalid host.
        return place if place is None or urlsplit(place).hostname else None
    except (requests.RequestException, ValueError) as error:
        raise client.unreachable(location.shown, error) from error


def _body(client: HttpClient, response: requests.Response, location: Location) -> bytes:
    from requests.exceptions import BaseHTTPError  # type: ignore[attr-defined]

    try:
        body = bytes(response.raw.read(_LARGEST_BODY + 1, decode_content=True))
    except (BaseHTTPError, OSError) as error:
        raise broken(client, location.shown, location.url, error) from error
    if len(body) > _LARGEST_BODY:
        raise UnavailableError(
            f"{location.shown} answers with more than {_LARGEST_BODY:,} bytes", remedy=client.remedy
        )
    return body
