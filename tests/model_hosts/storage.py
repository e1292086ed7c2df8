"""The storage behind a host of models: signed URLs on a port of its own, as S3 and its kin have.

A URL is signed for one file, for GET and until a time. An expired or altered one is refused, and
so is a request with a second kind of login.
"""

from __future__ import annotations

import hashlib
import hmac
import mmap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from tests.http_server import Answer, Request, ranged, serve

Content = bytes | mmap.mmap
_SECRET = b"known to the storage only"


@dataclass
class Storage:
    """`files` has each file with its entity tag, by its key. `asked` are the requests that it got.

    For each of the first requests, `cuts` says after how many bytes the connection breaks, None for
    one that is answered whole. `rate` limits each connection, in bytes per second, and `sent` gets
    the size of each piece of a file that was sent.
    """

    url: str = ""
    files: dict[str, tuple[Content, str]] = field(default_factory=dict)
    lifetime_s: float = 3600.0
    cuts: list[int | None] = field(default_factory=list)
    rate: float | None = None
    sent: Callable[[int], object] = lambda _: None
    asked: list[Request] = field(default_factory=list)
    _era: int = 0

    def put(self, key: str, content: Content) -> None:
        self.files[key] = content, f'"{hashlib.md5(content).hexdigest()}"'

    def signed(self, key: str, file_name: str) -> str:
        """A URL for the file with this key, valid for `lifetime_s` seconds."""
        until = f"{time.time() + self.lifetime_s}"
        query = {
            "X-Amz-Expires": until,
            "X-Amz-Signature": self._signature(key, until),
            "response-content-disposition": f"attachment; filename*=UTF-8''{quote(file_name)}",
        }
        return f"{self.url}/{quote(key)}?{urlencode(query)}"

    def expire(self) -> None:
        """No URL that was signed before is valid any more."""
        self._era += 1

    def answer(self, request: Request) -> Answer:
        self.asked.append(request)
        parts = urlsplit(request.path)
        key = parts.path.removeprefix("/")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        until, signature = query.get("X-Amz-Expires", ""), query.get("X-Amz-Signature", "")
        if request.headers["Authorization"]:
            return _error(400, "InvalidArgument", "Only one auth mechanism allowed")
        if request.method != "GET":
            return _error(403, "SignatureDoesNotMatch", "The signature is for another method.")
        if signature in {self._signature(key, until, era) for era in range(self._era)}:
            return _error(403, "AccessDenied", "Request has expired")
        if not hmac.compare_digest(signature, self._signature(key, until)):
            return _error(403, "SignatureDoesNotMatch", "The signature does not match.")
        if time.time() > float(until):
            return _error(403, "AccessDenied", "Request has expired")
        if key not in self.files:
            return _error(404, "NoSuchKey", "The specified key does not exist.")
        content, etag = self.files[key]
        whole = ranged(request, content, etag=etag)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Disposition": query["response-content-disposition"],
            **whole.headers,
            "Content-Length": str(len(whole.body)),
        }
        cut = self.cuts.pop(0) if self.cuts else None
        return Answer(
            status=whole.status,
            headers=headers,
            body=whole.body[:cut],
            rate=self.rate,
            sent=self.sent,
        )

    def _signature(self, key: str, until: str, era: int | None = None) -> str:
        signed = f"{key} {until} {self._era if era is None else era}"
        return hmac.new(_SECRET, signed.encode(), "sha256").hexdigest()


@contextmanager
def storage() -> Iterator[Storage]:
    double = Storage()
    with serve(answering=double.answer) as double.url:
        yield double


def _error(status: int, code: str, message: str) -> Answer:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Answer(status=status, headers={"Content-Type": "application/xml"}, body=body.encode())
