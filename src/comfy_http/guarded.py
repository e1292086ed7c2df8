"""HTTP for addresses that come from outside, which must not lead into this machine's own network.

A name is resolved here, every address that it has is checked, and the connection is made to a
checked one: a second answer of the name server cannot lead elsewhere. Redirects are connections
like any other. TLS still verifies the name.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    LocationParseError,
    NameResolutionError,
    NewConnectionError,
)
from urllib3.util import connection as sockets

from comfy_errors import InvalidInputError, UnavailableError
from comfy_http.client import HttpClient, LimitedAdapter

_GLOBAL_IPV6 = ipaddress.ip_network("2000::/3")
# What translates between IPv6 and IPv4 has the IPv4 address in its last 32 bits (RFC 6052).
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")


class PrivateAddressError(InvalidInputError):
    """A URL leads to an address that is not public."""


class ProxyError(UnavailableError):
    """A proxy, which resolves names itself, would make the connection."""


@dataclass(frozen=True, kw_only=True)
class GuardedClient(HttpClient):
    """Sends no login, and raises InvalidInputError for a URL that has one. If it `sends_tokens`, a
    bearer token is sent to the host that it is for.

    Unless it `allows_private` addresses, it raises PrivateAddressError for any that is not public,
    and ProxyError where a proxy would be used.
    """

    allows_private: bool = False
    sends_tokens: bool = False

    def adapter(self, **options: Any) -> HTTPAdapter:
        kind = _Adapter if self.allows_private else _PublicAdapter
        return kind(sends_tokens=self.sends_tokens, **options)


def is_public(address: str) -> bool:
    """True for an IP address that belongs to the public internet."""
    # IPv6 addresses of links carry their interface after a `%`.
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        if found in _TRANSLATED:
            inner = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if inner is None:
            return found in _GLOBAL_IPV6 and found.is_global and found.teredo is None
        found = inner
    return found.is_global and not found.is_multicast


class _Adapter(LimitedAdapter):
    def __init__(self, *, sends_tokens: bool, **options: Any) -> None:
        self._sends_tokens = sends_tokens
        super().__init__(**options)

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        if "@" in urlsplit(request.url or "").netloc:
            raise InvalidInputError(
                "has or leads to a URL with a login, which is not used",
                remedy="Use a signed URL instead.",
            )
        login = request.headers.get("Authorization", "")
        if not (self._sends_tokens and login.startswith("Bearer ")):
            # Of ~/.netrc, for the host of a redirect.
            request.headers.pop("Authorization", None)
        return super().send(request, **options)


class _PublicAdapter(_Adapter):
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        if select_proxy(request.url or "", options.get("proxies")):
            raise ProxyError(
                "would be read through a proxy, which resolves names itself, so that private "
                "addresses could not be refused"
            )
        return super().send(request, **options)


class _PublicConnection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return connected_to_public(self)


class _PublicTlsConnection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        return connected_to_public(self)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _PublicConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _PublicTlsConnection


def connected_to_public(connection: HTTPConnection) -> socket.socket:
    """A socket to the first address of the host that answers, all of them being public.

    Raises PrivateAddressError, and as urllib3's own connections do.
    """
    try:
        addresses = _addresses(connection.host, connection.port)
        if not all(map(is_public, addresses)):
            raise PrivateAddressError(
                f"leads to {connection.host}, which is not an address of the public internet"
            )
        return _first_connected(connection, addresses)
    except socket.gaierror as error:
        raise NameResolutionError(connection.host, connection, error) from error
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, f"{connection.host} did not answer") from error
    except UnicodeError as error:
        raise LocationParseError(connection.host) from error
    except OSError as error:
        raise NewConnectionError(connection, str(error)) from error


def _addresses(host: str, port: int) -> list[str]:
    """Every address of the host, each once, in the order of the system's preference."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(place[4][0]) for place in found))


def _first_connected(connection: HTTPConnection, addresses: list[str]) -> socket.socket:
    for left, address in zip(range(len(addresses) - 1, -1, -1), addresses, strict=True):
        try:
            return sockets.create_connection(
                (address, connection.port),
                connection.timeout,
                source_address=connection.source_address,
                socket_options=connection.socket_options,
            )
        except OSError:
            if not left:
                raise
    raise OSError("it has no address")
