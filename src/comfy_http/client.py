"""HTTP for every fetch: with retries, and through this machine's proxy and certificates.

Logins come from the URL itself, where that is allowed, and from ~/.netrc; neither is sent to
another host after a redirect.
"""

from __future__ import annotations

import contextlib
import socket
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import BaseAdapter, HTTPAdapter, Retry
from requests.auth import HTTPBasicAuth

# urllib3's own errors, which requests does not translate when raw bytes are read.
from requests.exceptions import BaseHTTPError  # type: ignore[attr-defined]
from requests.utils import get_auth_from_url

from comfy_errors import InvalidInputError, UnavailableError
from comfy_files.files import COPY_BYTES
from comfy_files.parallel import end_if_interrupted
from comfy_files.progress import Say, TransferLines, say_nothing
from comfy_http.errors import SilenceError
from comfy_http.logins import login_for, warn_of
from comfy_http.reasons import certificate_fault, is_silence, reason_of
from comfy_http.redaction import without_secrets
from comfy_http.settings import NetworkSettings

_LARGEST_BYTES = 10 * 1024**3
# A server that sends nothing for this long is considered dead.
_STALL_S = 60.0
_RETRIES = 3
# A login beside `Authorization`, which requests itself keeps from other hosts.
_TOKEN_OF_S3 = "X-Amz-Security-Token"
# How many a session keeps open to one host.
_CONNECTIONS = 32
# Enough for 100 MB/s over one connection at 20 ms.
_WINDOW_BYTES = 2 << 20
# Status codes of a server that is briefly unavailable, itself or behind a proxy.
_PASSING = (429, 502, 503, 504)


@dataclass(frozen=True, kw_only=True)
class HttpClient:
    """`remedy` is the next step to try when a server cannot be read, `retries` how often a request
    is repeated.
    """

    settings: NetworkSettings
    remedy: str
    retries: int = _RETRIES

    @property
    def silence_s(self) -> float:
        """A server that sends nothing for this long is given up."""
        return self.settings.timeout_s or _STALL_S

    def session(self) -> requests.Session:
        """A session that keeps connections open between requests, until it is closed. Several
        threads may use it.
        """
        # `Retry-After` is ignored: a server could make us wait for days.
        retry = _Retry(
            total=self.retries,
            # After a read timeout there is one retry, not four.
            read=min(1, self.retries),
            redirect=False,
            backoff_factor=0.3,
            status_forcelist=_PASSING,
            raise_on_status=False,
            respect_retry_after_header=False,
        )
        unverified = _UnverifiedAdapter(max_retries=retry)
        session = _Session(frozenset(self.settings.trusted_hosts), unverified)
        for scheme in ("https://", "http://"):
            session.mount(scheme, self.adapter(max_retries=retry, pool_maxsize=_CONNECTIONS))
        if self.settings.proxy:
            session.proxies = {"http": self.settings.proxy, "https": self.settings.proxy}
        session.cert = self.settings.client_cert
        return session

    def adapter(self, **options: Any) -> HTTPAdapter:
        """What a session makes its connections with."""
        return LimitedAdapter(**options)

    def send(
        self,
        session: requests.Session,
        method: str,
        url: str,
        *,
        stream: bool = False,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        follow: bool = True,
        uses_netrc: bool = True,
    ) -> requests.Response:
        """The response, whatever its status; redirects and logins from ~/.netrc are left out if
        asked. Raises requests.RequestException if there is none.

        A login from ~/.netrc takes precedence over an `Authorization` in `headers`.
        """
        return session.request(
            method,
            url,
            stream=stream,
            headers=headers,
            data=body,
            timeout=self.silence_s,
            # None leaves it to REQUESTS_CA_BUNDLE and certifi; passed here because those would take
            # precedence over the session's own setting.
            verify=self.settings.cert,
            allow_redirects=follow,
            auth=None if uses_netrc else _no_login,
        )

    @contextlib.contextmanager
    def download(self, url: str, *, say: Say = say_nothing) -> Iterator[Iterator[bytes]]:
        """The bytes of a file as they arrive; a broken connection is resumed where it broke.

        Raises UnavailableError if the file cannot be read, InvalidInputError if it exceeds a limit.
        """
        with self.session() as session, contextlib.closing(_Transfer(self, session, url)) as file:
            yield file.chunks(say)

    def unreachable(self, url: str, error: Exception) -> UnavailableError:
        """The error for a server that could not be reached or gave an unusable answer."""
        message = (
            f"{without_secrets(url)} could not be read: "
            f"{without_secrets(reason_of(error, self.silence_s))}"
        )
        if is_silence(error):
            return SilenceError(message, remedy=self.remedy, silence_s=self.silence_s)
        is_distrusted = certificate_fault(error) is not None
        return UnavailableError(message, remedy=self._trust if is_distrusted else self.remedy)

    @property
    def _trust(self) -> str:
        file = self.settings.cert
        if file is not None:
            return f"Check the certificates in {file}, which pip's configuration names."
        return (
            "If your network has a certificate authority of its own, set REQUESTS_CA_BUNDLE to a "
            "file with its certificates."
        )


def _no_login(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _login_of_url(request: requests.PreparedRequest) -> requests.PreparedRequest:
    user, password = get_auth_from_url(request.url or "")
    return HTTPBasicAuth(user, password)(request) if user or password else request


class _Retry(Retry):
    """A certificate that does not verify is final."""

    def increment(self, *arguments: Any, **options: Any) -> _Retry:
        error = options.get("error")
        is_final = error is not None and certificate_fault(error) is not None
        retry = self.new(total=0) if is_final else self
        return super(_Retry, retry).increment(*arguments, **options)


class _Session(requests.Session):
    """Certificates are checked per host, including the target of a redirect. A ~/.netrc that cannot
    be read gives a warning.
    """

    def __init__(self, trusted_hosts: frozenset[str], unverified: HTTPAdapter) -> None:
        super().__init__()
        self._trusted_hosts, self._unverified = trusted_hosts, unverified

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        if request.auth is None:
            request.auth = login_for(request.url) or _login_of_url
        return super().prepare_request(request)

    def get_adapter(self, url: str) -> BaseAdapter:
        parts = urlsplit(url)
        if self._trusted_hosts & {parts.hostname, parts.netloc.rpartition("@")[2]}:
            return self._unverified
        return super().get_adapter(url)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        target = super().get_redirect_target(resp)
        if target and resp.url.startswith("https://"):
            scheme = urlsplit(urljoin(resp.url, target)).scheme
            if scheme != "https":
                raise requests.exceptions.InvalidURL(
                    f"it redirects to {scheme}: without encryption"
                )
        return target

    def rebuild_auth(
        self, prepared_request: requests.PreparedRequest, response: requests.Response
    ) -> None:
        try:
            super().rebuild_auth(prepared_request, response)  # type: ignore[no-untyped-call]
        except UnicodeDecodeError as error:
            # It is raised after the login of another host was removed.
            warn_of(error)
        ways = response.request.url, prepared_request.url
        if self.should_strip_auth(*ways):  # type: ignore[no-untyped-call]
            prepared_request.headers.pop(_TOKEN_OF_S3, None)


class LimitedAdapter(HTTPAdapter):
    """Limits what a server sends ahead of what is read: it takes memory, and is lost with us."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options, socket_options=_socket_options())

    def proxy_manager_for(self, *arguments: Any, **options: Any) -> Any:
        return super().proxy_manager_for(*arguments, **options, socket_options=_socket_options())


def _socket_options() -> list[tuple[int, int, int]]:
    # The only one that urllib3 sets itself.
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
    # Linux's. Not SO_RCVBUF, which the system limits to much less than it may choose itself.
    clamp = getattr(socket, "TCP_WINDOW_CLAMP", None)
    return options if clamp is None else [*options, (socket.IPPROTO_TCP, clamp, _WINDOW_BYTES)]


class _UnverifiedAdapter(LimitedAdapter):
    """For hosts that pip's settings list as trusted."""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        # pip does not warn about such a host either.
        warnings.filterwarnings("ignore", message="Unverified HTTPS request")
        return super().send(request, **{**options, "verify": False})


class _Transfer:
    """One download, over as many connections as it takes."""

    def __init__(self, client: HttpClient, session: requests.Session, url: str) -> None:
        self._client, self._session, self._url = client, session, url
        self._arrived = 0
        self._response = self._ask({})
        length = self._response.headers.get("Content-Length", "")
        self._size = int(length) if length.isdecimal() else None
        # Only a strong validator guarantees that the rest belongs to the same file.
        tag = self._response.headers.get("ETag", "")
        self._tag = None if tag.startswith("W/") else tag or None

    def close(self) -> None:
        self._response.close()

    def chunks(self, say: Say) -> Iterator[bytes]:
        self._require_small(self._size or 0)
        lines = TransferLines(say, without_secrets(self._url), self._size)
        for _ in range(_RETRIES + 1):
            try:
                # Not decoded: decoding would change the bytes of an archive.
                for chunk in self._response.raw.stream(COPY_BYTES, decode_content=False):
                    self._arrived += len(chunk)
                    self._require_small(self._arrived)
                    end_if_interrupted()
                    yield chunk
                    lines.note(self._arrived)
                return
            except (BaseHTTPError, OSError) as error:
                broken = error
                if not self._take_up():
                    break
        raise self._client.unreachable(self._url, broken) from broken

    def _take_up(self) -> bool:
        """True if the server resumes where the connection broke."""
        if self._tag is None:
            return False
        self._response.close()
        span = {"Range": f"bytes={self._arrived}-", "If-Range": self._tag}
        self._response = self._ask(span)
        begins = self._response.headers.get("Content-Range", "")
        return self._response.status_code == 206 and begins.startswith(f"bytes {self._arrived}-")

    def _ask(self, headers: dict[str, str]) -> requests.Response:
        headers = {"Accept-Encoding": "identity", **headers}
        try:
            response = self._client.send(
                self._session, "GET", self._url, stream=True, headers=headers
            )
            response.raise_for_status()
        except requests.RequestException as error:
            raise self._client.unreachable(self._url, error) from error
        return response

    def _require_small(self, size_bytes: int) -> None:
        if size_bytes > _LARGEST_BYTES:
            raise InvalidInputError(
                f"{without_secrets(self._url)} is larger than {_LARGEST_BYTES:,} bytes",
                remedy="An archive of that size is probably a mistake; name a smaller one.",
            )
