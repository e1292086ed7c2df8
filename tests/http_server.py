"""A real HTTP server on loopback: files of a folder, answers that a test makes, or both."""

from __future__ import annotations

import base64
import contextlib
import mmap
import os
import re
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any

# How often a server looks whether it is to end: what a test waits for at the end of its block.
_POLL_S = 0.02
_LOOPBACK = "127.0.0.1"
_PIECE_BYTES = 1 << 16
_FRAMING = {"Content-Length", "Transfer-Encoding", "Connection"}


@dataclass(frozen=True, kw_only=True)
class Request:
    """`path` is as it was sent: with its query, and a whole address where we are the proxy."""

    method: str
    path: str
    headers: Message
    body: bytes

    @property
    def login(self) -> str | None:
        """`user:password` of basic authentication."""
        kind, _, secret = (self.headers["Authorization"] or "").partition(" ")
        return base64.b64decode(secret).decode() if kind == "Basic" else None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is sent, after which the connection is closed.

    The length of `body` is announced, unless `headers` have another Content-Length,
    `Transfer-Encoding: chunked`, or `Connection: close` for a body that its end ends.
    With `stalls` the connection stays open until the other side gives it up. `rate` limits the
    body, in bytes per second, and `sent` gets the size of each piece of it that was sent.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | memoryview = b""
    stalls: bool = False
    rate: float | None = None
    sent: Callable[[int], object] = lambda _: None


Answering = Callable[[Request], Answer | None]
"""Answers a request; None leaves it to the folder of files."""


def cut(content: bytes, size: int, *, stalls: bool = False) -> Answer:
    """All of `content` is announced, its first `size` bytes are sent."""
    return Answer(headers={"Content-Length": str(len(content))}, body=content[:size], stalls=stalls)


def redirect(url: str) -> Answer:
    return Answer(status=302, headers={"Location": url})


def ranged(request: Request, content: bytes | mmap.mmap, *, etag: str) -> Answer:
    """`content`, or the one range of it that is asked for, as RFC 9110 has it.

    `etag` is a whole entity tag, with its quotes. A range with an `If-Range` that is not this tag
    is ignored, and so is one of a kind that we do not know.
    """
    headers = {"ETag": etag, "Accept-Ranges": "bytes"}
    size = len(content)
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers["Range"] or "")
    if not asked or not any(asked.groups()) or request.headers.get("If-Range", etag) != etag:
        return Answer(headers=headers, body=memoryview(content))
    first, last = asked.groups()
    start = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if start >= size or end <= start:
        return Answer(status=416, headers={**headers, "Content-Range": f"bytes */{size}"})
    span = {"Content-Range": f"bytes {start}-{end - 1}/{size}"}
    return Answer(status=206, headers={**headers, **span}, body=memoryview(content)[start:end])


@contextlib.contextmanager
def serve(
    root: Path | None = None,
    answering: Answering = lambda _: None,
    *,
    address: str = _LOOPBACK,
    tls: ssl.SSLContext | None = None,
    socket: Path | None = None,
) -> Iterator[str]:
    """Asks `answering` about each request, then looks below `root`; gives the server's URL.

    It listens at a free port of `address`, or at a Unix socket that it makes.
    """
    # Nothing lies below the null device.
    handler = partial(_Handler, answering=answering, directory=str(root or os.devnull))
    with _UnixServer(str(socket), handler) if socket else _Server((address, 0), handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(_POLL_S,), daemon=True)
        thread.start()
        name = server.socket.getsockname()
        url = f"unix://{name}" if socket else f"http{'s' if tls else ''}://{address}:{name[1]}"
        try:
            yield url
        finally:
            server.shutdown()
            thread.join()


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Clients that hang up or refuse a certificate are what some tests are about.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _UnixServer(ThreadingUnixStreamServer):
    daemon_threads = True


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *arguments: Any, answering: Answering, **options: Any) -> None:
        self.answering = answering
        super().__init__(*arguments, **options)

    def do_GET(self) -> None:
        if not self._answered():
            super().do_GET()

    def do_HEAD(self) -> None:
        if not self._answered():
            super().do_HEAD()

    def do_POST(self) -> None:
        if not self._answered():
            self.send_error(405)

    def do_PUT(self) -> None:
        self.do_POST()

    def do_DELETE(self) -> None:
        self.do_POST()

    def _answered(self) -> bool:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        answer = self.answering(
            Request(method=self.command, path=self.path, headers=self.headers, body=body)
        )
        if answer is None:
            return False
        content = answer.body
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if not _FRAMING & answer.headers.keys():
            self.send_header("Content-Length", str(len(content)))
        if answer.headers.get("Transfer-Encoding") == "chunked":
            content = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            if self.command != "HEAD":
                self._send(content, answer)
            if answer.stalls:
                self.connection.recv(1)
        return True

    def _send(self, content: bytes | memoryview, answer: Answer) -> None:
        if answer.rate is not None:
            # However slow its reader is, little is on its way to it.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _PIECE_BYTES)
        began = time.monotonic()
        for at in range(0, len(content), _PIECE_BYTES):
            piece = content[at : at + _PIECE_BYTES]
            if answer.rate is not None:
                time.sleep(max(0.0, began + at / answer.rate - time.monotonic()))
            self.wfile.write(piece)
            answer.sent(len(piece))

    def end_headers(self) -> None:
        # One request for each connection: what is kept open would outlive a test.
        self.send_header("Connection", "close")
        super().end_headers()

    def translate_path(self, path: str) -> str:
        """A whole address, as a proxy gets it, is looked for in a folder named as its host."""
        return super().translate_path(re.sub(r"^\w+://", "/", path))

    def log_message(self, *_arguments: object) -> None:
        pass
